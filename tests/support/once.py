"""Checks of content that many combinations share: each runs once for each distinct content.

A check runs in a folder that holds copies of the files in its fingerprint and nothing else, so it cannot read any
other file.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from tests.support.project import Project
from tests.support.rendered import names

# The files that each check reads: patterns of file names, in which * matches slashes too.
READS: dict[str, tuple[str, ...]] = {
    "ruff": ("*.py", "pyproject.toml"),
    "yamllint": ("*.yml", "*.yaml"),
    "Dockerfile": ("Dockerfile", ".dockerignore"),
    "Compose": ("compose.yaml",),
    "Makefile": ("Makefile",),
    "lock": ("pyproject.toml", "requirements*.txt"),
    # compose.yaml, because only it tells MySQL's projects from MariaDB's: their code is the same.
    "own tests": (
        *("*.py", "*.json", "templates/*", "static/*"),
        *("pyproject.toml", "requirements*.txt", ".dockerignore", "compose.yaml"),
    ),
}


# The answers file differs between all combinations, and is checked in each of them.
ANSWERS = ".copier-answers.yml"


def read_by(check: str, project: Project) -> list[str]:
    """Return the names of the files of a project that a check reads; KeyError if there is no such check."""
    found = [name for name in names(project.path) if any(fnmatch(name, pattern) for pattern in READS[check])]
    return [name for name in found if name != ANSWERS]


def fingerprint(check: str, project: Project) -> str:
    """Return a digest of the files that a check reads, without the project's own names."""
    own = re.compile(f"{re.escape(project.combination.name)}|{re.escape(project.slug)}")
    digest = hashlib.sha256(check.encode())
    for name in read_by(check, project):
        path = project.path / name
        text = own.sub("", path.read_text(encoding="utf-8"))
        digest.update(f"\0{name}\0{path.stat().st_mode & 0o111}\0{text}".encode())
    return digest.hexdigest()


class Once:
    """Records what has been checked in this run, in a folder that all workers share."""

    def __init__(self, folder: Path, *, always: bool = False) -> None:
        self.folder = folder
        self.always = always

    def first(self, check: str, project: Project) -> bool:
        """Return whether this check has not seen the same content before, and record that it has now."""
        try:
            (self.folder / fingerprint(check, project)).mkdir(parents=True)
        except FileExistsError:
            return self.always
        return True

    def take(self, check: str, project: Project) -> Project | None:
        """Return a copy of the files that a check reads; None if the same content has been checked."""
        if not self.first(check, project):
            return None
        folder = self.folder / f"{project.slug}-{check.replace(' ', '-')}"
        for name in read_by(check, project):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project.path / name, folder / name)
        return replace(project, path=folder)
