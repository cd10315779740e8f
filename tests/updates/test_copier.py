"""The oldest Copier that copier.yml allows can copy and update."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from tests.support.matrix import ROOT
from tests.support.releases import commit_all, git, releases
from tests.support.updates import KEPT, files, left_behind

OLDEST = str(yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))["_min_copier_version"])


def test_the_weekly_workflow_has_a_copier_that_is_let_in() -> None:
    [pinned] = re.findall(
        r"copier==(\S+)", (ROOT / "template/.github/workflows/update.yml").read_text(encoding="utf-8")
    )
    assert Version(pinned) >= Version(OLDEST)


@pytest.mark.rotates(seconds=20, touched_by=["copier.yml"])
def test_the_oldest_copier_copies_and_updates(template: Path, tmp_path: Path) -> None:
    """Installed from the index into its own environment."""
    python = tmp_path / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet", "--system-certs"]
    subprocess.run([*uv, "venv", str(python.parent.parent)], check=True)
    subprocess.run([*uv, "pip", "install", "--python", str(python), f"copier=={OLDEST}"], check=True)

    def run(*arguments: str) -> None:
        command = [str(python.parent / "copier"), *arguments]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert said.returncode == 0, f"Copier {OLDEST}: {said.stderr}"

    copied, updated = tmp_path / "copied", tmp_path / "updated"
    for folder, ref in {copied: "HEAD", updated: next(iter(releases()))}.items():
        run("copy", "--defaults", "--vcs-ref", ref, str(template), str(folder))
        git("init", "--quiet", at=folder)
        with (folder / "README.md").open("a", encoding="utf-8") as readme:
            readme.write("Ours.\n")
        commit_all(folder)
    run("update", "--defaults", "--vcs-ref", "HEAD", str(updated))
    before, after = files(copied), files(updated)
    left = {name for name in after if name not in before}
    assert {"config/env.py", "conftest.py"} <= left
    assert all({name, *map(str, Path(name).parents)} & {"conftest.py", *left_behind(ROOT)} for name in left), left
    assert set(before) <= set(after)
    differ = {name for name in before if after[name] != before[name]}
    assert all(any(Path(name).match(kept) for kept in KEPT) for name in differ), differ
