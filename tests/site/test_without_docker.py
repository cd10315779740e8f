"""The commands of a project where Docker is missing, stopped, forbidden or too old: one sentence, and they fail."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

from tests.support import matrix

# A client that answers as the variables say. The real messages of Docker 26 and 29 are in the table below.
DOCKER = """#!/bin/sh
case "$1" in
version) [ -z "${REFUSAL:-}" ] || { echo "$REFUSAL" >&2; exit 1; }; printf "$ENGINE" ;;
compose) [ "$COMPOSE" ] || { echo "docker: unknown command: docker compose" >&2; exit 1; }; echo "$COMPOSE" ;;
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


def run(folder: Path, path: str, *command: str, **variables: str) -> tuple[int, list[str]]:
    """Run a command; return its exit code, and what it said without make's own lines."""
    environment = {"PATH": path, "HOME": str(folder), "LC_ALL": "C", **variables}
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return result.returncode, [line for line in result.stdout.splitlines() if not line.startswith("make: ***")]


def targets(folder: Path) -> list[str]:
    """Return the project's commands that need Docker."""
    names = re.findall(r"(?m)^([a-z-]+):", (folder / "Makefile").read_text(encoding="utf-8"))
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
    code, said = run(folder, path, "sh", "scripts/docker.sh", **RIGHT | answers)
    assert code == bool(sentence), said
    assert len(said) == bool(sentence)
    for line in said:
        assert line.startswith(str(sentence))
    # A manager of a Swarm deploys without Compose.
    code, _ = run(folder, path, "sh", "scripts/docker.sh", "engine", **RIGHT | answers)
    assert code == bool(sentence and "Compose" not in sentence)
