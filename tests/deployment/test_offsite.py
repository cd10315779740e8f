"""Backups that leave the host: sent, listed, checked, and restored on an empty one, with restic and real targets.

restic is a stand-in where its image cannot be pulled: Debian's build of it. The SFTP server is Debian's OpenSSH. The S3
server stands in for all providers: OpenStack Swift, from Debian, over HTTP. Amazon's own was not tested.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.disk import small_disk
from tests.support.ledger import ADD, LEDGER, LOOK
from tests.support.matrix import ROOT, Combination
from tests.support.production import Production, own_address
from tests.support.project import PATIENCE, add_app, free_port, make_project, own_project, until

# What restic says if it ends before it has heard why ssh did.
UNHEARD = "unable to open repository at sftp:"
pytestmark = pytest.mark.rotates(
    seconds=200,
    touched_by=[
        "*backup*",
        "*restic*",
        "*restore*",
        "*/schedule.sh*",
        "tests/engine/stand_ins/s3/*",
    ],
)

STACKS = {
    "sqlite": ({"database": "sqlite", "use_drf": False, "multi_stage": False}, "folder"),
    "postgres": ({"database": "postgres", "use_drf": False}, "sftp"),
    "mariadb": ({"database": "mariadb", "use_drf": False, "multi_stage": False}, "s3"),
    "mysql": ({"database": "mysql", "use_drf": False, "multi_stage": False}, "folder"),
}
# The key and the secret of the S3 server.
KEYS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
PASSWORD = "a long one: $HOME 'and' more"


@dataclass
class Target:
    """Where backups go: a folder, or an SFTP or S3 server in a container."""

    kind: str
    folder: Path
    production: Production
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def server(self) -> str:
        """The name of the server's container."""
        return f"{self.production.project.slug}-target"

    def start(self) -> None:
        """Create it, and set the variables that point to it."""
        self.variables = {"RESTIC_REPOSITORY": str(self.folder), "RESTIC_PASSWORD": PASSWORD}
        if self.kind == "folder":
            self.folder.mkdir()
            return
        docker, keys = self.production.project.docker, self.folder.parent / "ssh"
        # By a port of this machine, the address is the same after a restart.
        address, port = own_address(), free_port()
        docker("rm", "--force", "--volumes", self.server)  # of a run that was killed
        if self.kind == "s3":
            docker("run", "--detach", "--name", self.server, "--publish", f"{port}:8080", "slipway.invalid/s3")
            self.variables |= KEYS | {"RESTIC_REPOSITORY": f"s3:http://{address}:{port}/backups/site"}
            return
        [base] = [name for name in matrix.images(self.production.project.combination) if name.startswith("python:")]
        docker("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", IMAGE, str(TARGETS))
        keys.mkdir()
        docker(
            *("run", "--rm", "--volume", f"{keys}:/keys", IMAGE),
            *("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/keys/id_ed25519"),
        )
        key = (keys / "id_ed25519.pub").read_text(encoding="utf-8")
        docker("run", "--detach", "--name", self.server, "--env", f"KEY={key}", "--publish", f"{port}:22", IMAGE)
        host = docker("exec", self.server, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()
        (keys / "known_hosts").write_text(f"[{address}]:{port} {host[0]} {host[1]}\n", encoding="utf-8")
        self.variables["RESTIC_REPOSITORY"] = f"sftp://backup@{address}:{port}//srv/backups/site"

    def size(self) -> int:
        """Return how many bytes the repository has."""
        if self.kind == "folder":
            return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        folder = "/srv/node/disk/objects" if self.kind == "s3" else "/srv/backups"
        return int(self.production.project.docker("exec", self.server, "du", "-sb", folder).split()[0])

    def remove(self) -> None:
        """Remove what `start` has created."""
        if self.kind != "folder":
            self.production.project.docker("rm", "--force", "--volumes", self.server)


IMAGE = "slipway-backup-targets"
TARGETS = ROOT / "tests" / "engine" / "stand_ins" / "backup-targets"


class Pings(HTTPServer):
    """Counts the requests that it gets."""

    count = 0

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.server.count += 1  # type: ignore[attr-defined]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        super().__init__(("0.0.0.0", 0), Handler)
        Thread(target=self.serve_forever, daemon=True).start()


class Site(Production):
    """A site whose backups leave the host."""

    target: Target
    pings: Pings

    def send_to(self, **variables: str) -> None:
        """Write backup.env, with further variables or other values."""
        lines = self.target.variables | {"PING_URL": f"http://{own_address()}:{self.pings.server_port}/"} | variables
        file = self.project.path / "backup.env"
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
        keys = self.project.path / "secrets" / "ssh"
        if self.target.kind == "sftp" and not keys.exists():
            shutil.copytree(self.target.folder.parent / "ssh", keys)

    def look(self) -> tuple[int, str]:
        """Return the number of rows, and a digest of all rows and files."""
        rows, digest = json.loads(self.python(LOOK))
        return int(rows), str(digest)

    @cached_property
    def image(self) -> str:
        """The image of restic."""
        script = (self.project.path / "scripts" / "restic.sh").read_text(encoding="utf-8")
        [name] = re.findall(r"restic/restic:[0-9.]+", script)
        return str(name)

    def snapshots(self) -> list[str]:
        """Return the ids in the listing of `make backups`, after it has read and checked all data."""
        self.send_to()
        said = self.make("backups", "READ=100")
        assert said.splitlines()[-1] == "The repository is complete, and 100% of its data was read and is intact"
        return re.findall(r"(?m)^([0-9a-f]{8})  2", said)

    def unlock(self) -> None:
        """Remove the locks in the repository."""
        file = self.project.path / "backup.env"
        self.project.docker("run", "--rm", "--env-file", str(file), self.image, "unlock", "--remove-all")

    def refused(self, target: str = "backup", *arguments: str) -> str:
        """Run a target that fails, and return its last line."""
        before = self.pings.count
        said = self.lines(target, *arguments, fails=True)
        assert self.pings.count == before, "a ping in spite of a failure"
        return said[-1]


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that it takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


@pytest.fixture(scope="module", params=STACKS)
def site(
    request: pytest.FixtureRequest, copie_session: Copie, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A deployed project with an app that stores rows and files, and a target for its backups."""
    ensure_image(engine, "caddy:2")
    answers, kind = STACKS[request.param]
    combination = Combination(f"slipway-offsite-{request.param}", matrix.pick(**answers).answers)
    project = make_project(copie_session, engine, combination)
    add_app(project, LEDGER)
    site = Site(project, free_port(), free_port())
    ensure_image(engine, site.image)
    if kind == "s3":
        ensure_image(engine, "slipway.invalid/s3")
    site.configure(104 + list(STACKS).index(request.param))
    site.target = Target(kind, tmp_path_factory.mktemp("target") / "repository", site)
    site.pings = Pings()
    project.commit("Keep a ledger")
    try:
        site.make("secrets")
        site.deploy_commit()
        site.target.start()
        site.send_to()
        yield site
    finally:
        site.pings.shutdown()
        site.target.remove()
        site.remove()


def test_an_empty_host_gets_everything_back(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[str, float, int, int]] = []
    site.python(ADD.format(400))
    first = site.look()
    said: list[str] = []
    took = timed(lambda: said.extend(site.lines("backup")))
    assert "keep a copy of backup.env elsewhere" in "".join(said)
    assert site.pings.count == 1
    assert (site.project.path / "backup.env").stat().st_mode & 0o777 == 0o600
    rows.append(("the first backup", took, site.target.size(), first[0]))
    [oldest] = site.snapshots()
    site.python(ADD.format(20))
    second = site.look()
    took = timed(lambda: site.make("backup"))
    rows.append(("the second backup", took, site.target.size(), second[0]))
    assert site.target.size() < rows[0][2] * 1.5, "it is not incremental"
    assert len(site.snapshots()) == 2
    took = timed(site.snapshots)
    rows.append(("list and check", took, site.target.size(), second[0]))

    # The host is lost, with what came after the last backup. The clone, backup.env and, for SFTP, the key are what the
    # README tells to keep.
    site.python(ADD.format(5))
    path = site.project.path
    site.remove()
    lost = path.rename(path.with_name("lost"))
    # Git trusts the other user's folder.
    trusting = ["--no-local", "--upload-pack", "git -c safe.directory=* upload-pack"]
    subprocess.run(["git", "-c", "safe.directory=*", "clone", "--quiet", *trusting, lost, path], check=True)
    site.project = own_project(path, site.project.combination, site.project.engine)
    start = time.monotonic()
    site.configure(104 + list(STACKS).index(site.project.database))
    site.make("secrets")
    site.send_to()
    site.deploy_commit()
    rows.append(("make deploy on an empty host", time.monotonic() - start, site.target.size(), site.look()[0]))
    assert site.look()[0] == 0
    took = timed(lambda: site.make("restore", "FROM=latest"))
    rows.append(("make restore FROM=latest", took, site.target.size(), site.look()[0]))
    assert site.look() == second
    took = timed(lambda: site.make("restore", f"FROM={oldest}"))
    rows.append(("make restore FROM=<id>", took, site.target.size(), site.look()[0]))
    assert site.look() == first
    site.make("restore", f"FROM={time.strftime('%Y-%m')}")
    assert site.look() == second
    with capsys.disabled():
        print(f"\n| {site.project.slug}, {site.target.kind} | s | bytes there | rows |\n|---|---|---|---|")
        for what, seconds, size, count in rows:
            print(f"| {what} | {seconds:.1f} | {size} | {count} |")


def test_what_goes_wrong_is_said_and_costs_nothing(site: Site) -> None:
    kept = site.snapshots()
    before = site.look()
    variables = site.target.variables
    repository = variables["RESTIC_REPOSITORY"]
    elsewhere = repository + "-elsewhere"
    written = r"backups/\S+[.]tar is written, but not sent: "
    faults = [
        ({"RESTIC_PASSWORD": "wrong"}, written + "RESTIC_PASSWORD is not the repository's"),
        ({"RESTIC_PASSWORD": ""}, "RESTIC_PASSWORD is missing: add it to backup.env"),
        ({"RESTIC_PASSWORD": "'quoted'"}, "backup.env has a value in quotes, .*"),
        ({"RESTIC_IMAGE": "127.0.0.1:9/restic"}, "127.0.0.1:9/restic cannot be pulled: .*"),
    ]
    if site.target.kind == "folder":
        faults.append(
            ({"RESTIC_REPOSITORY": elsewhere}, f"There is no folder {elsewhere}: create it, or mount its disk")
        )
    elif site.target.kind == "s3":
        faults += [
            ({"AWS_SECRET_ACCESS_KEY": "wrong"}, f"{written}.*Access Denied.*"),
            ({"RESTIC_REPOSITORY": "s3:http://nowhere.invalid/backups/site"}, f"{written}.*no such host.*"),
        ]
    else:
        nowhere = {"RESTIC_REPOSITORY": "sftp:backup@nowhere.invalid:/x"}
        faults.append((nowhere, f"{written}({UNHEARD}|ssh: Could not resolve).*"))
    for changed, expected in faults:
        site.send_to(**changed)
        said = site.refused()
        assert re.fullmatch(expected, said), said
    # A repository that disappears does not begin anew: its disk may not be mounted.
    if site.target.kind == "folder":
        folder = site.target.folder
        away = folder.rename(folder.with_name("away"))
        folder.mkdir()
        site.send_to()
        assert "there is no repository at RESTIC_REPOSITORY" in site.refused()
        assert not list(folder.iterdir())
        folder.rmdir()
        away.rename(folder)
    elif site.target.kind == "s3":
        site.send_to(RESTIC_REPOSITORY=f"{repository.rpartition('/')[0]}-missing/site")
        said = site.refused("restore", "FROM=latest")
        assert said.startswith("there is no repository at RESTIC_REPOSITORY: correct it, or make the bucket ")
        site.project.docker("stop", "--time", "1", site.target.server)
        site.send_to()
        assert "RESTIC_REPOSITORY cannot be reached: " in site.refused("restore", "FROM=latest")
        site.project.docker("start", site.target.server)
    else:
        site.project.docker("stop", "--time", "1", site.target.server)
        site.send_to()
        assert re.match(f"{UNHEARD}|ssh: connect to host ", site.refused("restore", "FROM=latest"))
        assert re.match(f"{written}({UNHEARD}|ssh: connect to host )", site.refused())
        site.project.docker("start", site.target.server)
        keys = site.project.path / "secrets" / "ssh"
        hidden = keys.rename(keys.with_name("hidden"))
        assert re.search(f"{UNHEARD}|Host key verification failed", site.refused())
        shutil.copytree(hidden, keys)
        (keys / "id_ed25519").unlink()
        assert re.search(f"{UNHEARD}|Permission denied", site.refused())  # as when the key has expired
        shutil.rmtree(keys)
        hidden.rename(keys)
    site.send_to()
    assert site.refused("restore", "FROM=1999-12-31") == "There is no backup 1999-12-31: make backups lists them"
    assert site.snapshots() == kept
    assert site.look() == before


def test_a_backup_that_is_half_there_is_none(site: Site) -> None:
    kept = site.snapshots()
    (site.project.path / "data" / "site" / "media" / "large.bin").write_bytes(os.urandom(64 << 20))
    ran = subprocess.Popen(
        ["make", "--silent", "backup"],
        cwd=site.project.path,
        env=site.project.engine.env | site.project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    find = ["docker", "ps", "--no-trunc", "--filter", f"ancestor={site.image}", "--format", "{{.ID}} {{.Command}}"]

    def killed() -> bool:
        lines = site.project.run(*find).splitlines()
        running = [line.split()[0] for line in lines if " backup --quiet" in line]
        return bool(running) and bool(site.project.docker("kill", "--signal", "KILL", *running))

    until(killed, every=0.01)
    said = ran.communicate(timeout=PATIENCE)[0]
    assert ran.returncode, said
    assert re.search(r"[.]tar is written, but not sent: restic ended with exit code 137", said), said
    # It may have left a lock, which is ignored after half an hour.
    if site.target.kind == "folder":
        for lock in (site.target.folder / "locks").iterdir():
            lock.unlink()
    elif site.target.kind == "s3":
        site.unlock()
    else:
        site.project.docker("exec", site.target.server, "find", "/srv/backups/site/locks", "-type", "f", "-delete")
    assert site.snapshots() == kept
    site.make("backup")
    assert len({*site.snapshots()} - {*kept}) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")
@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_a_full_disk_loses_nothing(site: Site) -> None:
    kept = site.snapshots()
    media = site.project.path / "data" / "site" / "media"
    (media / "large.bin").write_bytes(os.urandom(64 << 20))
    with small_disk(site.target.folder, site.target.size() // (1 << 20) + 20):
        site.send_to()
        assert "no space left on device" in site.refused()
        assert site.snapshots() == kept
    files = sorted((site.project.path / "backups").glob("*.tar"))
    for file in files[1:]:
        file.unlink()
    with small_disk(site.project.path / "backups", files[0].stat().st_size // (1 << 20) + 40):
        site.send_to()
        assert site.refused().startswith("No backup was written, because ")
        assert [path.name for path in sorted((site.project.path / "backups").glob("[!.]*"))] == [files[0].name]
        assert "no space left on device" in site.refused("restore", f"FROM={kept[-1]}")
    (media / "large.bin").unlink()
    assert site.snapshots() == kept


def test_old_backups_go_and_a_timer_makes_new_ones(site: Site) -> None:
    site.send_to(KEEP="--keep-last 1", KEEP_FILES="2")
    [name] = site.lines("backup")
    files = sorted((site.project.path / "backups").glob("*.tar"))
    assert len(files) == 2
    assert files[-1].name == Path(name).name
    assert len(site.snapshots()) == 1
    site.send_to(PING_URL="http://127.0.0.1:9/")
    assert site.lines("backup", fails=True)[-1].endswith(" is complete, but PING_URL does not answer")
    if site.target.kind != "sftp":
        return  # its image of the targets is not built, and has systemd's checks
    script = """
        printf '#!/bin/sh\\necho systemctl "$@"\\n' > /usr/local/bin/systemctl
        chmod +x /usr/local/bin/systemctl
        sh scripts/schedule.sh "$1"
        [ "$1" = never ] || systemd-analyze verify /etc/systemd/system/*-backup.*
    """
    run = ["run", "--rm", "--volume", f"{site.project.path}:/site:ro", "--workdir", "/site", IMAGE, "sh", "-ec", script]
    unit = f"{site.project.slug}-backup"
    assert f"systemctl enable --now {unit}.timer" in site.project.docker(*run, "-", "hourly")
    assert f"systemctl disable --now {unit}.timer" in site.project.docker(*run, "-", "never")
    assert 'systemd does not know when "on some days" is' in site.project.docker(*run, "-", "on some days", fails=True)
