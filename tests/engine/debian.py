"""Packages from the Debian machine's own mirror, for when no registry provides an image.

The mirror is read from the machine's apt configuration and is not written here: a company mirror,
or one that is only reachable from inside, works unchanged.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

#: A mirror's copy of testing may be past its Valid-Until date; signatures are still checked.
APT_OPTIONS = {
    "Acquire::Check-Valid-Until": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
}


class EngineError(RuntimeError):
    """One sentence that says what is missing, and what to do."""


def say(text: str) -> None:
    """Show one line of progress."""
    print(f"[engine] {text}", file=sys.stderr, flush=True)


def cache_root() -> Path:
    """Return the folder that every clone on this machine shares."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and is ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "slipway"


def run(
    *command: str | Path, env: dict[str, str] | None = None, timeout: float | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with its output captured and its input closed; the caller checks the return code."""
    try:
        return subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=env,
            timeout=timeout,
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout:g} s")
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: not found")


def last_line(text: str) -> str:
    """Return the last line that is not blank, for the end of an error message."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


@cache
def codename() -> str:
    """Return the machine's Debian release, or "" when this is not Debian."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    fields = dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)
    return fields.get("VERSION_CODENAME", "") if fields.get("ID") == "debian" else ""


def require_root_on_debian(purpose: str) -> None:
    """Raise unless packages can be installed here."""
    if not codename() or not shutil.which("apt-get"):
        raise EngineError(f"{purpose} can only be done by itself on Debian, and this machine is not Debian.")
    if os.geteuid() != 0:
        raise EngineError(f"{purpose} needs root, and this is user id {os.geteuid()}: use sudo.")


@cache
def mirror() -> str:
    """Return the URL of the mirror that the machine's own apt uses for its distribution."""
    targets = run(
        "apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)", "Created-By: Packages"
    )
    found = [line.split() for line in targets.stdout.splitlines()]
    own = [row for row in found if row[1:3] == [codename(), "main"]]
    # Another vendor may publish a "main" under the same release name: prefer the one whose origin is Debian.
    own.sort(key=lambda row: row[3:] != ["Debian"])
    if not own:
        raise EngineError(
            f"apt has no source for '{codename()} main': add the Debian mirror to /etc/apt/sources.list.d."
        )
    return own[0][0].rstrip("/")


def sources(*suites: str) -> str:
    """Return apt source lines for those suites of the machine's mirror."""
    return "".join(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n" for suite in suites)


def install(*packages: str) -> None:
    """Install packages of the machine's own release, if any is missing."""

    def missing() -> list[str]:
        states = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages).stdout.split("\n")
        return [name for name in packages if f"{name} installed" not in states]

    wanted = missing()
    if not wanted:
        return
    say(f"installing {', '.join(wanted)}")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    locks = ("-o", "DPkg::Lock::Timeout=300")
    command = ("apt-get", *locks, "install", "-y", "--no-install-recommends", *wanted)
    result = run(*command, env=env)
    if result.returncode:  # the lists are old or missing; a failing third-party source does not matter
        run("apt-get", *locks, "update", env=env)
        result = run(*command, env=env)
    if missing():
        raise EngineError(f"apt-get could not install {', '.join(missing())}: {last_line(result.stderr)}")


def unpack(suite: str, packages: tuple[str, ...], target: Path, state: Path) -> None:
    """Download packages of another release with a separate apt state, and unpack them without installing."""
    for folder in (state / "lists" / "partial", state / "cache" / "archives" / "partial", state / "debs", target):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "sources.list").write_text(sources(suite), encoding="utf-8")
    (state / "status").touch()
    options = APT_OPTIONS | {
        "Dir::State": str(state),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state / "cache"),
        "Dir::Etc::sourcelist": str(state / "sources.list"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    configuration = state / "apt.conf"
    configuration.write_text("".join(f'{key} "{value}";\n' for key, value in options.items()), encoding="utf-8")
    env = os.environ | {"APT_CONFIG": str(configuration)}
    for arguments in (("update",), ("download", *packages)):
        result = run("apt-get", *arguments, env=env, cwd=state / "debs")
        if result.returncode:
            raise EngineError(f"apt-get {arguments[0]} of Debian {suite} failed: {last_line(result.stderr)}")
    for archive in (state / "debs").glob("*.deb"):
        result = run("dpkg", "-x", archive, target)
        if result.returncode:
            raise EngineError(f"{archive.name} cannot be unpacked: {last_line(result.stderr)}")
