"""The template's releases as tests/releases.txt lists them, and a clone that has them as tags."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from packaging.version import Version

from tests.support.matrix import ROOT, offered

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]


def git(*arguments: str, at: Path) -> str:
    """Run git in the folder `at`, and return what it printed; AssertionError with its complaint if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *IDENTITY, "-c", "safe.directory=*", *arguments]
    result = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"git {' '.join(arguments)}: {result.stderr}"
    return result.stdout.strip()


def releases(repository: Path = ROOT) -> dict[str, str]:
    """Return the releases of a repository, sorted by version, the oldest first: tag -> commit.

    `make release` writes the list. Subjects may be edited or repeated, and a clone may have come without tags.
    """
    lines = (repository / "tests" / "releases.txt").read_text(encoding="utf-8").splitlines()
    return dict(sorted((line.split() for line in lines), key=lambda line: Version(line[0])))


def known(template: Path, release: str, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers as a project of `release` can have them: it does not know the choices that came later.

    An answer that it does not offer becomes its own default. Questions that it does not ask are left out.
    """
    asked = yaml.safe_load(git("show", f"{release}:copier.yml", at=template))
    possible = {}
    for name, answer in answers.items():
        if name in asked:
            choices = offered(asked[name].get("choices", [answer]))
            possible[name] = answer if answer in choices else asked[name]["default"]
    return possible


def clone_with_releases(folder: Path) -> Path:
    """Clone this repository into `folder`, tag its releases, and commit uncommitted changes."""
    git("clone", "--quiet", "--no-tags", str(ROOT), str(folder), at=ROOT)
    for tag, commit in releases().items():
        git("tag", tag, commit, at=folder)
    git(f"--git-dir={folder / '.git'}", f"--work-tree={ROOT}", "add", "--all", at=ROOT)
    if git("diff", "--cached", "--name-only", at=folder):
        git("commit", "--quiet", "--message", "Commit uncommitted changes", at=folder)
        git("reset", "--quiet", "--hard", at=folder)
        git("clean", "--quiet", "--force", "-d", at=folder)  # removed and renamed files
    git("gc", "--quiet", "--prune=now", at=folder)  # every render clones it: two files instead of thousands
    return folder


def commit_all(folder: Path) -> None:
    """Commit everything in `folder`, even if nothing has changed."""
    git("add", "--all", at=folder)
    git("commit", "--quiet", "--allow-empty", "--message", "Commit", at=folder)
