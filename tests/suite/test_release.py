"""A release is one command; its version, the changelog and the history agree."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from tests.support.matrix import ROOT
from tests.support.releases import IDENTITY, clone_with_releases, commit_all, git, releases
from tests.support.rendered import tool


def version(folder: Path) -> str:
    """Return the version that a clone says it is."""
    return str(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def dated(folder: Path) -> list[str]:
    """Return the releases that a clone's changelog dates, the newest first."""
    text = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"(?m)^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", text)


def test_version_changelog_and_history_agree() -> None:
    found = [tag.removeprefix("v") for tag in releases()]
    assert dated(ROOT) == found[::-1]
    assert version(ROOT) == found[-1]


def test_a_release_is_one_command(tmp_path: Path) -> None:
    clone = clone_with_releases(tmp_path / "clone")
    changelog = clone / "CHANGELOG.md"
    text = re.sub(
        r"## Unreleased\n(?!\n###)", "## Unreleased\n\n### Fixed\n\n- All.\n", changelog.read_text(encoding="utf-8")
    )
    changelog.write_text(text, encoding="utf-8")
    commit_all(clone)
    for setting in IDENTITY[1::2]:
        git("config", *setting.split("=", 1), at=clone)
    command = [tool("bump-my-version"), "bump", "--new-version", "99.0.0"]
    subprocess.run(command, cwd=clone, check=True)
    assert version(clone) == dated(clone)[0] == "99.0.0"
    assert list(releases(clone))[-1] == git("describe", "--exact-match", at=clone) == "v99.0.0"
    # Nothing has changed since: there is nothing to release.
    again = subprocess.run([*command[:-1], "99.0.1"], cwd=clone, capture_output=True, text=True, check=False)
    assert again.returncode
    assert "## Unreleased" in again.stderr + again.stdout
    assert git("status", "--porcelain", at=clone) == ""
