"""A release takes one command; the version, the changelog and the history agree."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from tests.support.matrix import ROOT
from tests.support.releases import IDENTITY, clone_with_releases, commit_all, git, releases
from tests.support.rendered import tool


def version(folder: Path) -> str:
    """Return the version in a clone's pyproject.toml."""
    return str(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def dated(folder: Path) -> list[str]:
    """Return the dated releases in a clone's changelog, the newest first."""
    text = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"(?m)^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", text)


def tags(*options: str) -> dict[str, str]:
    """Return the tags of releases that this clone has, if it has any: tag -> commit."""
    names = [name for name in git("tag", *options, at=ROOT).splitlines() if re.fullmatch(r"v\d+\.\d+\.\d+", name)]
    return {name: git("rev-parse", f"{name}^{{commit}}", at=ROOT) for name in names}


def test_version_changelog_list_and_tags_agree() -> None:
    listed = releases()
    for tag, commit in listed.items():
        project = git("show", f"{commit}:pyproject.toml", at=ROOT)
        assert f"v{tomllib.loads(project)['project']['version']}" == tag, f"tests/releases.txt has {commit} as {tag}"
    released = listed | tags("--points-at", "HEAD")  # a release cannot list itself: the commit after it does
    assert listed | tags() == released, "tests/releases.txt and the tags differ"
    assert dated(ROOT) == [tag.removeprefix("v") for tag in reversed(released)]
    assert f"v{version(ROOT)}" in released


def test_releases_are_sorted_by_version(tmp_path: Path) -> None:
    """Not by date: the line of a later release from a maintenance branch comes last."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "releases.txt").write_text("v0.9.0 a\nv0.10.0 b\nv0.9.1 c\n", encoding="utf-8")
    assert releases(tmp_path) == {"v0.9.0": "a", "v0.9.1": "c", "v0.10.0": "b"}
    assert list(releases(tmp_path)) == ["v0.9.0", "v0.9.1", "v0.10.0"]


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

    def release(number: str) -> subprocess.CompletedProcess[str]:
        done = ["--old-file=lint", "--old-file=test"]  # make then considers it done
        command = ["make", *done, f"BIN={Path(tool('python')).parent}", "release", f"version={number}"]
        return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)

    made = release("99.0.0")
    assert made.returncode == 0, made.stderr
    assert version(clone) == dated(clone)[0] == "99.0.0"
    assert git("describe", "--exact-match", "HEAD^", at=clone) == "v99.0.0"
    git("commit", "--quiet", "--allow-empty", "--message", "Release v98.0.0", at=clone)  # a repeated subject
    assert list(releases(clone).items())[-1] == ("v99.0.0", git("rev-parse", "v99.0.0^{commit}", at=clone))
    # Nothing has changed since: there is nothing to release.
    again = release("99.0.1")
    assert again.returncode
    assert "## Unreleased" in again.stderr + again.stdout
    assert git("status", "--porcelain", at=clone) == ""
    assert "v99.0.1" not in releases(clone)
