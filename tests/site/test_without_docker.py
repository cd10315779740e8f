"""All commands of both Makefiles where something is in the way: one sentence, a failure, and no file half-written.

Docker is missing, stopped, forbidden or too old; the folder is another or someone else's; the disk is full. Taken ports
and Ctrl-C, which need containers, are in test_obstacles.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

from tests.support import matrix
from tests.support.disk import filled, small_disk
from tests.support.matrix import ROOT
from tests.support.project import PATIENCE, free_port

pytestmark = pytest.mark.rotates(
    seconds=60, touched_by=["Makefile", "template/Makefile.jinja", "template/scripts/*", "hooks/deploy/*.sh", "tools/*"]
)
# A client that answers as the variables say. The real messages of Docker 26 and 29 are in the table below.
DOCKER = """#!/bin/sh
case "$1" in
version) [ -z "${REFUSAL:-}" ] || { echo "$REFUSAL" >&2; exit 1; }; printf "$ENGINE" ;;
info) echo true ;;
buildx) echo sha256:0000000000000000000000000000000000000000000000000000000000000000 ;;
compose) [ "$COMPOSE" ] || { echo "docker: unknown command: docker compose" >&2; exit 1; }
  [ "$2" != version ] || echo "$COMPOSE" ;;
esac
"""
STOPPED = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
FORBIDDEN = "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock"
UNKNOWN = "Error: template: version:1:8: executing version at <.Server.Components>: can't evaluate field Components"
# What is wrong -> what the client answers, and how the sentence starts; None if nothing is.
WRONG: dict[str, tuple[dict[str, str], str | None]] = {
    "stopped": ({"REFUSAL": STOPPED}, f"Docker does not answer: start it ({STOPPED})"),
    "forbidden": ({"REFUSAL": FORBIDDEN}, "You may not use Docker: join its group with sudo usermod "),
    "old engine": ({"ENGINE": r"Engine 20.10.24+dfsg1\ncontainerd 1.6.20\n"}, "Docker 20.10.24+dfsg1 is too old: "),
    "no compose": ({"COMPOSE": ""}, "Docker Compose is missing: install docker-compose-plugin, "),
    "old compose": ({"COMPOSE": "v2.9.0"}, "Docker Compose 2.9.0 is too old: install 2.26 or newer"),
    "Debian 13": ({}, None),
    "newer": ({"ENGINE": r"Engine 100.0.0\n", "COMPOSE": "5.0.1-desktop.1"}, None),
    "Podman": ({"ENGINE": r"Podman Engine 5.4.2\nConmon 2.1\n"}, None),
    "Podman's client": ({"REFUSAL": UNKNOWN}, None),
}
RIGHT = {"ENGINE": r"Engine 26.1.5+dfsg1\ncontainerd 1.7.24\n", "COMPOSE": "2.26.1-4"}
# Of a project on one host, of one on a Swarm, and of one on Kubernetes: commands that use no Docker there, or say more.
WITHOUT = {
    "compose": {"help", "secrets", "doctor"},
    "swarm": {"help", "secrets", "doctor"},
    "kubernetes": {"help", "secrets", "doctor", "deploy", "rollback"},
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this machine's commands, without Docker's."""
    folder = tmp_path_factory.mktemp("tools")
    for place in ("/usr/bin", "/bin"):
        for path in Path(place).iterdir():
            if not path.name.startswith(("docker", "podman")) and not (folder / path.name).is_symlink():
                (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module", params=WITHOUT)
def folder(request: pytest.FixtureRequest, copie_session: Copie) -> Iterator[Path]:
    """A project with all that Docker is needed for, in a folder whose name has a space."""
    answers = {**matrix.pick(database="postgres", use_celery=True).data, "deploy": request.param}
    made = copie_session.copy(extra_answers=answers)
    assert made.project_dir
    folder = made.project_dir.rename(made.project_dir.with_name("my site"))
    yield folder
    folder.rename(made.project_dir)


def run(
    folder: Path, path: str, *command: str, user: int | None = None, env: dict[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run a command, also as another user; return its exit code, and what it said without make's own lines."""
    environment = {"PATH": path, "HOME": str(folder), "LC_ALL": "C", **(env or {})}
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE,
        user=user,
        extra_groups=None if user is None else [],
    )
    return result.returncode, [line for line in result.stdout.splitlines() if not line.startswith("make: ***")]


def commands(folder: Path) -> list[str]:
    """Return all targets of a Makefile."""
    return re.findall(r"(?m)^([a-z-]+):", (folder / "Makefile").read_text(encoding="utf-8"))


def targets(folder: Path) -> list[str]:
    """Return the project's commands that need Docker."""
    names = commands(folder)
    deploy = re.search(r"(?m)^deploy: (\w+)$", (folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert deploy
    cluster = deploy[1] == "kubernetes"
    return [name for name in names if name not in WITHOUT[deploy[1]] and not (cluster and name.startswith("prod-"))]


def test_docker_is_missing(folder: Path, tools: Path) -> None:
    names = targets(folder)
    assert len(names) > 15
    for name in names:
        code, said = run(folder, str(tools), "make", "--silent", name)
        assert code == 2, name
        assert [line.partition(":")[0] for line in said] == ["Docker is missing"], f"{name}: {said}"


@pytest.mark.parametrize("wrong", WRONG)
def test_docker_is(wrong: str, folder: Path, tools: Path, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text(DOCKER, encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)
    answers, sentence = WRONG[wrong]
    path = f"{tmp_path}:{tools}"
    code, said = run(folder, path, "sh", "scripts/docker.sh", env=RIGHT | answers)
    assert code == bool(sentence), said
    assert len(said) == bool(sentence)
    for line in said:
        assert line.startswith(str(sentence))
    # A manager of a Swarm deploys without Compose.
    code, _ = run(folder, path, "sh", "scripts/docker.sh", "engine", env=RIGHT | answers)
    assert code == bool(sentence and "Compose" not in sentence)


def test_another_folder(folder: Path, tools: Path, tmp_path: Path) -> None:
    for name in commands(folder):
        code, said = run(tmp_path, str(tools), "make", "--silent", "--file", str(folder / "Makefile"), name)
        assert code == 2, name
        assert [line.partition(" *** ")[2][:40] for line in said] == ["This is not the folder of the project: g"], name
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def open_folder(folder: Path) -> Iterator[Path]:
    """A copy of the project that other users can read, in a folder with a usable Docker in `bin`."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        place.chmod(0o755)
        shutil.copytree(folder, place / "my site")
        (place / "bin").mkdir()
        # A schedule would be written to this machine's own folders.
        for name, text in {"docker": DOCKER, "systemd-analyze": "#!/bin/sh\nexit 1\n"}.items():
            (place / "bin" / name).write_text(text, encoding="utf-8")
            (place / "bin" / name).chmod(0o755)
        (place / "my site" / "production.env").write_text("SITE_HOST=www.example.com\n", encoding="utf-8")
        subprocess.run(["git", "init", "--quiet"], cwd=place / "my site", check=True)
        yield place / "my site"


def contents(folder: Path) -> dict[str, bytes]:
    """Return a folder's files that are not empty."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(folder: Path, user: int | None = None) -> dict[str, str]:
    """Run all commands, which change no file; return what those said that fail, each in one line: name -> line."""
    before, path = contents(folder), f"{folder.parent / 'bin'}:/usr/bin:/bin"
    found = {}
    for name in commands(folder):
        code, said = run(folder, path, "make", "--silent", name, user=user, env=RIGHT)
        assert code in (0, 2), name
        if code:
            assert len(said) == 1 or name == "doctor", f"{name}: {said}"
            found[name] = said[0]
    assert contents(folder) == before
    assert not {line for line in found.values() if "I/O error" in line or "Traceback" in line}
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_someone_elses_folder(open_folder: Path) -> None:
    assert {"secrets", "pin", "deploy"} <= {*refused(open_folder, user=65534)}
    places = [open_folder, *open_folder.glob("deploy/kubernetes/overlays/production")]
    (places[-1] / "secrets").mkdir(mode=0o700)
    refusals = refused(open_folder, user=65534)
    if len(places) == 1:
        unread = {name for name, line in refusals.items() if line.startswith("You may not read secrets/: ")}
        assert unread >= {name for name in commands(open_folder) if name.startswith("prod-")} | {"deploy", "rollback"}


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")
def test_a_full_disk(open_folder: Path) -> None:
    database = {"DATABASE_URL": "postgres://app:secret@database:5432/app", "REDIS_URL": "redis://:secret@redis:6379"}
    assert run(open_folder, os.environ["PATH"], "make", "--silent", "secrets", env=database)[0] == 0
    (open_folder / "data").mkdir()
    combination = matrix.pick(database="postgres", use_celery=True)
    server = next(name for name in matrix.images(combination) if name.startswith("postgres:")).replace(":", " ")
    owner = f"{combination.data['project_slug']} {server}"
    for name, text in {"releases": "2026-01-01 0123456789ab", "stack.yaml": "", "belongs-to": owner}.items():
        (open_folder / "data" / name).write_text(f"{text}\n", encoding="utf-8")
    with small_disk(open_folder, 4), filled(open_folder / "filler"):
        refusals = refused(open_folder)
        assert "pin" in refusals
        if "backup" in refusals:
            full = "data/ cannot be written: free some space"
            assert {refusals["backup"], refusals["restore"]} == {full}


# Runs a module in which all that it asks of this machine ends in an error.
MODULE = """
import errno, runpy, subprocess, sys
import copier
import tests.engine, tests.engine.engine

def refuse(*_, **__):
    raise {error}

subprocess.run = copier.run_copy = refuse
for module in (tests.engine, tests.engine.engine):
    module.ensure_engine = module.find_engine = module.stop_engine = refuse
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
# Targets of the template's Makefile that run nothing of ours but the tests, which say so in one line themselves.
PLAIN = {"help", "test", "lint", "release", "has-version"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("tests.engine.EngineError('No engine answers')", "No engine answers"),
        ("OSError(errno.ENOSPC, 'No space left on device')", "No space left on device"),
        ("KeyboardInterrupt", ""),
    ],
)
def test_the_templates_own_commands(error: str, sentence: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PORT": str(free_port())}
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = dict(re.findall(r"(?m)^([a-z-]+):.*\n((?:\t.*\n)*)", text))
    assert set(commands(ROOT)) == recipes.keys()
    for name, recipe in recipes.items():
        found = re.search(r"-m (tools\.\w+|tests\.engine|benchmarks)(?: (\w+) ?(\$)?)?", recipe)
        assert bool(found) != (name in PLAIN), f"{name} is neither tested nor known to be plain"
        if found:
            words = [*filter(None, [found[1], found[2]]), *([str(tmp_path / "demo")] if found[3] else [])]
            command = [sys.executable, "-c", MODULE.format(error=error), *words]
            result = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
            )
            assert result.returncode, name
            assert "Traceback" not in result.stderr, f"{name}: {result.stderr}"
            assert sentence in result.stderr
