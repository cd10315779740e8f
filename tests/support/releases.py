"""The template's releases, found in its history, and a clone that has them as tags: what `copier update` goes by."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.support.matrix import ROOT

IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]


def git(*arguments: str, at: Path) -> str:
    """Run git in the folder `at`, and return what it printed; AssertionError with its complaint if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *IDENTITY, "-c", "safe.directory=*", *arguments]
    result = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"git {' '.join(arguments)}: {result.stderr}"
    return result.stdout.strip()


def releases(repository: Path = ROOT) -> dict[str, str]:
    """Return the releases in a repository's history, the oldest first: tag -> commit.

    A clone may have come without tags, so it is the commits that count: `make release` writes their subjects.
    """
    log = git("log", "--reverse", "--format=%H %s", at=repository)
    return {tag: commit for commit, tag in re.findall(r"(?m)^(\w+) Release (v\d+\.\d+\.\d+)$", log)}


def clone_with_releases(folder: Path) -> Path:
    """Clone this repository into `folder`, tag its releases, and commit what is not committed yet."""
    git("clone", "--quiet", "--no-tags", str(ROOT), str(folder), at=ROOT)
    for tag, commit in releases(folder).items():
        git("tag", tag, commit, at=folder)
    git(f"--git-dir={folder / '.git'}", f"--work-tree={ROOT}", "add", "--all", at=ROOT)
    if git("diff", "--cached", "--name-only", at=folder):
        git("commit", "--quiet", "--message", "What is not committed yet", at=folder)
        git("reset", "--quiet", "--hard", at=folder)
        git("clean", "--quiet", "--force", "-d", at=folder)  # what has been removed or renamed
    git("gc", "--quiet", "--prune=now", at=folder)  # every render clones it: two files instead of thousands
    return folder


def commit_all(folder: Path) -> None:
    """Commit all that is in `folder`, even if it is nothing."""
    git("add", "--all", at=folder)
    git("commit", "--quiet", "--allow-empty", "--message", "Commit", at=folder)
