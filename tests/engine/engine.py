"""Find the Docker engine that the tests talk to, or set up a private one.

The private engine is Debian testing's, unpacked without installing it. All of its files are in one folder of the
user's cache: every clone shares it, and removing the folder (after ``stop``) removes the engine.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .debian import EngineError, cache_root, install, require_root_on_debian, run, say, unpack

#: Taken from Debian testing. runc and iptables are the machine's own: they must fit its libc and its kernel.
PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd", "tini-static")
BINARIES = ("dockerd", "docker-proxy", "containerd", "containerd-shim-runc-v2", "docker", "tini-static")
PLUGINS = ("docker-buildx", "docker-compose")
HOST_PACKAGES = ("runc", "iptables", "libseccomp2", "ca-certificates")

#: Each range holds 256 networks of 254 addresses; the first that the machine has no route into is used.
POOLS = ("10.210.0.0/16", "10.187.0.0/16", "172.29.0.0/16", "192.168.0.0/16")
#: GB. A whole run leaves 25. If the limit is too small, BuildKit drops the layers that the next run needs first.
CACHE_LIMIT = 40
#: GB that are free when the engine starts: a run needs them for images, volumes and temporary files.
ROOM = 15
START_TIMEOUT = 300.0
STOP_TIMEOUT = 120.0
#: Variables that would override DOCKER_HOST or change how a client connects to it.
OVERRIDES = ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION", "BUILDX_BUILDER")


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers."""

    env: dict[str, str]  #: the full environment for subprocesses
    private: bool  #: whether it is ours, and not the machine's
    started: bool  #: whether this call started it


class Layout:
    """Where a private engine keeps its files, and which packages it is made of."""

    def __init__(self, name: str = "engine", suite: str = "testing", packages: tuple[str, ...] = PACKAGES) -> None:
        self.suite, self.packages = suite, packages
        self.root = cache_root().resolve() / name
        self.tag = "slipway-" + hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        self.bin = self.root / "bin"
        self.data = self.root / "data"
        self.config = self.root / "config"
        self.log = self.root / "dockerd.log"
        # A Unix socket's path has at most 107 characters, and containerd's own are deeper than ours.
        own = self.root / "run"
        self.run = own if len(str(own)) <= 60 else Path("/run") / self.tag
        self.socket = self.run / "docker.sock"
        self.pid = self.run / "docker.pid"

    @property
    def host(self) -> str:
        """The value of DOCKER_HOST."""
        return f"unix://{self.socket}"

    def environment(self) -> dict[str, str]:
        """Return the caller's environment, pointed at the private engine."""
        env = {key: value for key, value in os.environ.items() if key not in OVERRIDES}
        path = [part for part in env.get("PATH", os.defpath).split(":") if part != str(self.bin)]
        return env | {
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.config),
            "PATH": ":".join([str(self.bin), *path]),
        }


# -- Finding one ---------------------------------------------------------------------------------------------


def ensure_engine() -> Engine:
    """Return an engine that answers: the caller's own, else the private one, set up and started if needed."""
    layout = Layout()
    if _ambient_answers(layout):
        for plugin, package in (("compose", "docker-compose-plugin"), ("buildx", "docker-buildx-plugin")):
            version = run("docker", plugin, "version", timeout=30)
            if version.returncode or (plugin == "compose" and " v1." in version.stdout):
                raise EngineError(
                    f"Docker answers, but `docker {plugin}` does not: install {package} (in Debian and Ubuntu's own "
                    f"packages, docker-{plugin} or docker-{plugin}-v2)."
                )
        return Engine(dict(os.environ), private=False, started=False)
    if _ping(layout):
        return Engine(layout.environment(), private=True, started=False)
    require_root_on_debian("No Docker engine answers: start yours, or install one; setting up a private one")
    with locked("engine"):
        if _recovers(layout):  # another process started it, or it was busy
            return Engine(layout.environment(), private=True, started=False)
        set_up(layout)
        sweep(layout)
        start(layout)
    return Engine(layout.environment(), private=True, started=True)


def find_engine() -> Engine | None:
    """Return the engine that answers now, or None, without starting one."""
    layout = Layout()
    if _ambient_answers(layout):
        return Engine(dict(os.environ), private=False, started=False)
    return Engine(layout.environment(), private=True, started=False) if _ping(layout) else None


def describe(engine: Engine) -> str:
    """Return one line that says which engine this is."""
    version = run("docker", "version", "--format", "{{.Server.Version}}", env=engine.env, timeout=30).stdout.strip()
    kind = f"private engine, {engine.env['DOCKER_HOST']}" if engine.private else "this machine's own engine"
    return f"Docker {version} ({kind})"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock shared by all processes of this user; it is released when the process ends."""
    folder = cache_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _ambient_answers(layout: Layout) -> bool:
    if os.environ.get("DOCKER_HOST") == layout.host or not shutil.which("docker"):
        return False
    return run("docker", "version", "--format", "{{.Server.Version}}", timeout=20).returncode == 0


def _ping(layout: Layout, timeout: float = 10.0) -> bool:
    if not layout.socket.exists():
        return False
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(layout.socket))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _recovers(layout: Layout) -> bool:
    """Return whether a running dockerd answers after all: one that is only busy must not be killed."""
    deadline = time.monotonic() + START_TIMEOUT
    while not _ping(layout):
        if time.monotonic() > deadline or "dockerd" not in _processes(layout).values():
            return False
        time.sleep(0.5)
    return True


# -- Setting up and starting ---------------------------------------------------------------------------------


def set_up(layout: Layout) -> None:
    """Unpack the binaries; one rename puts them in place, so an interrupted set-up is simply repeated."""
    install(*HOST_PACKAGES)
    if layout.bin.is_dir():
        return
    say(f"downloading the Docker engine of Debian {layout.suite} from this machine's mirror")
    work = layout.root / "setup"
    shutil.rmtree(work, ignore_errors=True)
    unpack(layout.suite, layout.packages, work / "files", work / "apt")
    for names, folder in ((BINARIES, work / "bin"), (PLUGINS, layout.config / "cli-plugins")):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            candidates = (work / "files" / "usr").rglob(name)  # not below etc: init scripts have the same names
            found = next((path for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)
            if found is None:
                raise EngineError(
                    f"The packages of Debian {layout.suite} no longer hold '{name}': correct PACKAGES in tests/engine."
                )
            shutil.copy2(found, folder / name)
    (work / "bin" / "tini-static").rename(work / "bin" / "docker-init")  # the name that `--init` looks for
    (work / "bin").rename(layout.bin)
    shutil.rmtree(work, ignore_errors=True)


def start(layout: Layout, *within: str) -> None:
    """Start dockerd, by the command `within` if there is one, and wait until it answers; EngineError if it does not."""
    say(f"starting dockerd of Debian {layout.suite}")
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        run("modprobe", "overlay")
    for folder in (layout.data, layout.run, layout.config):
        folder.mkdir(parents=True, exist_ok=True)
    leftovers = _disarm(layout)
    configuration = layout.root / "daemon.json"
    configuration.write_text(json.dumps(_daemon_options(layout), indent=2) + "\n", encoding="utf-8")
    keep = ("HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOGC")
    env = {key: value for key, value in os.environ.items() if key in keep or key.lower().endswith("_proxy")}
    env["PATH"] = f"{layout.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with layout.log.open("w", encoding="utf-8") as log:
        # `setsid --fork` gives it a session of its own and init as its parent: it holds no pipe of the caller's
        # open, gets no Ctrl-C meant for the tests, and leaves no zombie behind.
        command = ["setsid", "--fork", *within, str(layout.bin / "dockerd"), "--config-file", str(configuration)]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/", check=True)
    deadline = time.monotonic() + START_TIMEOUT
    grace = time.monotonic() + 2
    while not _ping(layout, timeout=2):
        if time.monotonic() > deadline or (time.monotonic() > grace and not _processes(layout)):
            tail = "\n".join(layout.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise EngineError(f"dockerd did not start; the end of {layout.log} says:\n{tail}")
        time.sleep(0.1)
    env = layout.environment()
    if leftovers:
        say(f"removing {len(leftovers)} container(s) of an earlier run")
        run("docker", "rm", "--force", "--volumes", *leftovers, env=env)
    for kind in ("network", "image"):  # images without a name: each was built again by a later run
        run("docker", kind, "prune", "--force", env=env)
    make_room(layout)


def make_room(layout: Layout) -> None:
    """Drop the older half of the build cache if the disk is nearly full, and say so if that was not enough.

    BuildKit's own minimum of free space does not hold on a disk whose free blocks are reserved: it counts them as free.
    """

    def free() -> float:
        return shutil.disk_usage(layout.data).free / 1e9

    if free() >= ROOM:
        return
    say(f"{free():.0f} GB of the disk are free: dropping the older half of the build cache, which takes minutes")
    limit = f"{CACHE_LIMIT // 2}GB"
    run("docker", "buildx", "prune", "--force", "--max-used-space", limit, env=layout.environment())
    if free() < ROOM:
        say(f"{free():.0f} GB of the disk are free; a whole run of the tests needs {ROOM}: delete what you can spare")


def _daemon_options(layout: Layout) -> dict[str, object]:
    return {
        "hosts": [layout.host],
        "pidfile": str(layout.pid),
        "data-root": str(layout.data),
        "exec-root": str(layout.run / "exec"),
        "storage-driver": "overlay2",
        "features": {"containerd-snapshotter": False},
        # with cgroupfs and a parent of our own, processes that a killed engine leaves behind can be told from others
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": f"/{layout.tag}",
        "default-address-pools": [{"base": _free_pool(), "size": 24}],
        "live-restore": False,
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "builder": {"gc": {"enabled": True, "defaultMaxUsedSpace": f"{CACHE_LIMIT}GB"}},
    }


def _free_pool() -> str:
    """Return the first range of POOLS that overlaps no route and no name server of this machine."""
    taken: list[ipaddress.IPv4Network] = []
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        interface, target, *_, mask = line.split()[:8]
        address, bits = (int.from_bytes(bytes.fromhex(text), "little") for text in (target, mask))
        if bits and not interface.startswith(("docker", "br-")):  # those are bridges of an engine that is gone
            taken.append(ipaddress.IPv4Network((address, bits.bit_count())))
    for line in Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1 and ":" not in words[1]:
            taken.append(ipaddress.IPv4Network(words[1]))
    for pool in POOLS:
        if not any(ipaddress.IPv4Network(pool).overlaps(network) for network in taken):
            return pool
    raise EngineError(
        "Every address range in POOLS of tests/engine/engine.py is routed elsewhere: add one that is free here."
    )


# -- Stopping, and clearing up after a crash -----------------------------------------------------------------


def stop_engine() -> None:
    """Stop the private engine, its containers first, and remove its mounts; harmless if none runs."""
    layout = Layout()
    if not layout.root.is_dir():
        return
    with locked("engine"):
        if _ping(layout):
            env = layout.environment()
            run("docker", "swarm", "leave", "--force", env=env, timeout=STOP_TIMEOUT)  # or its services restart
            running = run("docker", "ps", "--quiet", env=env, timeout=STOP_TIMEOUT).stdout.split()
            if running:
                run("docker", "stop", "--timeout", "10", *running, env=env, timeout=STOP_TIMEOUT)
        sweep(layout)


def sweep(layout: Layout) -> None:
    """End all processes of a private engine that may have crashed, and remove its mounts and sockets."""
    daemon = [pid for pid, name in _processes(layout).items() if name == "dockerd"]
    _end(daemon, signal.SIGTERM)  # a healthy dockerd ends its containerd and its shims too
    deadline = time.monotonic() + STOP_TIMEOUT
    while set(daemon) & set(_processes(layout)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for _ in range(50):
        left = [*_processes(layout), *_contained(layout)]
        if not left:
            break
        _end(left, signal.SIGKILL)
        time.sleep(0.1)
    for point in reversed(_mounts(layout)):
        run("umount", "--lazy", point)
    for cgroup in sorted(_cgroups(layout), key=lambda path: len(path.parts), reverse=True):
        try:
            cgroup.rmdir()
        except OSError:
            continue
    if not _mounts(layout):
        shutil.rmtree(layout.run, ignore_errors=True)


def _disarm(layout: Layout) -> list[str]:
    """Keep dockerd from bringing an earlier run's containers and services back, and return the containers' ids."""
    shutil.rmtree(layout.data / "swarm", ignore_errors=True)
    found = []
    for path in (layout.data / "containers").glob("*/hostconfig.json"):
        found.append(path.parent.name)
        try:
            options = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # half written: dockerd ignores it too
        options["RestartPolicy"] = {"Name": "no", "MaximumRetryCount": 0}
        path.write_text(json.dumps(options), encoding="utf-8")
    return found


def _processes(layout: Layout) -> dict[int, str]:
    """Return the processes that run the private engine's own binaries, by id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = (entry / "exe").readlink()
            except OSError:  # it has ended, or it is a kernel thread or a zombie
                continue
            if target.parent == layout.bin and target.name not in ("docker", "docker-init"):
                found[int(entry.name)] = target.name.removesuffix(" (deleted)")
    return found


def _cgroups(layout: Layout) -> list[Path]:
    """Return the cgroups that belong to the private engine's containers and builds."""
    tops = [*Path("/sys/fs/cgroup").glob(layout.tag), *Path("/sys/fs/cgroup").glob(f"*/{layout.tag}")]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top)]


def _contained(layout: Layout) -> list[int]:
    """Return the ids of processes inside containers: they outlive a shim that was killed."""
    found: set[int] = set()
    for cgroup in _cgroups(layout):
        try:
            found.update(int(pid) for pid in (cgroup / "cgroup.procs").read_text(encoding="ascii").split())
        except OSError:
            continue
    return sorted(found)


def _mounts(layout: Layout) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return [
        point for point in points if Path(point).is_relative_to(layout.data) or Path(point).is_relative_to(layout.run)
    ]


def _end(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
