"""The suite itself: in parts it is the whole."""

from __future__ import annotations

import subprocess
import sys

import yaml

from tests.conftest import in_shard
from tests.matrix import ROOT


def collected(*options: str) -> list[str]:
    """Return the names of the tests that would run."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", *options]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return [line for line in found.splitlines() if "::" in line]


def test_the_shards_of_ci_are_the_whole_suite() -> None:
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = ci["jobs"]["test"]
    shards = job["strategy"]["matrix"]["shard"]
    assert f"/{len(shards)}" in job["steps"][1]["run"]
    everything = collected()
    parts = [in_shard(everything, part, len(shards)) for part in shards]
    assert sorted(name for part in parts for name in part) == sorted(everything)
    assert min(map(len, parts)) > max(map(len, parts)) / 2
    assert set(collected("--shard", f"1/{len(shards)}")) == parts[0]


def test_a_wrong_shard_is_refused() -> None:
    command = [sys.executable, "-m", "pytest", "--shard", "9/8"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode
    assert "'9/8' is no shard: write 1/8 for the first of eight" in said.stderr
