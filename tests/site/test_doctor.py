"""`make doctor` on machines without a usable Docker; test_workflow has it on a running site."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.rendered import copier_copy

COMMANDS = ("awk", "df", "dirname", "echo", "git", "grep", "head", "id", "make", "printf", "sed", "sh", "sort", "tail")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in a git repository."""
    folder = tmp_path_factory.mktemp("doctor") / "site"
    assert copier_copy(folder, "project_name=Site").returncode == 0
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def doctor(checkout: Path, folder: Path, docker: str = "") -> str:
    """Return what `make doctor` says with the script `docker` as Docker, or with none.

    AssertionError if it finds nothing.
    """
    for name in COMMANDS:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    if docker:
        (folder / "docker").write_text(f"#!/bin/sh\n{docker}\n", encoding="utf-8")
        (folder / "docker").chmod(0o755)
    command, path = ["make", "--silent", "doctor"], {"PATH": str(folder)}
    made = subprocess.run(command, cwd=checkout, env=path, capture_output=True, text=True, check=False)
    assert made.returncode
    return made.stdout


@pytest.mark.parametrize(
    ("docker", "sentence"),
    [
        ("", "Docker is missing: install it"),
        ('echo "Cannot connect to the Docker daemon" >&2; exit 1', "Docker does not answer: start it (Cannot"),
        ('echo "permission denied while trying to connect" >&2; exit 1', "You may not use Docker: join its group"),
        ("echo Engine 20.10.24", "Docker 20.10.24 is too old"),
        ('[ "$1" = version ] && echo Engine 99.1', "Docker Compose is missing"),
        ('echo Engine 99.1; [ "$2" != config ]', "Compose cannot read its file or .env: Engine 99.1"),
    ],
)
def test_docker(checkout: Path, tmp_path: Path, docker: str, sentence: str) -> None:
    said = doctor(checkout, tmp_path, docker)
    assert said.startswith(f"- {sentence}")
    assert len(said.splitlines()) == 1


def test_the_checkout(checkout: Path, tmp_path: Path) -> None:
    notes = checkout / "notes.txt"
    notes.write_text("<<<<<<< ours\n", encoding="utf-8")
    subprocess.run(["git", "add", "notes.txt"], cwd=checkout, check=True)
    assert "- notes.txt has conflicts: keep" in doctor(checkout, tmp_path)
    shutil.rmtree(checkout / ".git")
    notes.unlink()
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert "- Deploys and updates need a git repository: run `git init`" in doctor(checkout, tmp_path)
