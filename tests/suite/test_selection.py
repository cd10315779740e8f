"""Which tests run: every combination, every triple of answers, shards that add up, and the drills touched."""

from __future__ import annotations

import functools
import itertools
import re
import subprocess
import sys
from fnmatch import fnmatch

import pytest
import yaml

from tests.plugin.selection import combination_of, divide, git_lines, in_shard, turn
from tests.support import matrix
from tests.support.matrix import ROOT


@functools.cache
def collected(*options: str) -> list[str]:
    """Return the names of the tests that would run."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", *options]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return [line for line in found.splitlines() if "::" in line]


def test_every_triple_of_answers_is_covered() -> None:
    spans = matrix.axes()
    rows = [each.answers for each in matrix.covering()]
    for names in itertools.combinations(spans, 3):
        seen = {tuple(row[name] for name in names) for row in rows}
        assert seen == set(itertools.product(*(spans[name] for name in names))), names
    least = max(len(spans[a]) * len(spans[b]) * len(spans[c]) for a, b, c in itertools.combinations(spans, 3))
    assert len(rows) <= least * 1.5


def test_a_choice_that_is_added_enters_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = {**matrix.axes(), "python_version": [*matrix.choices("python_version"), "3.99"]}
    monkeypatch.setattr(matrix, "axes", lambda: spans)
    matrix.covering.cache_clear()
    try:
        rows = [each.answers for each in matrix.covering()]
    finally:
        matrix.covering.cache_clear()
    assert {(row["database"], row["use_celery"]) for row in rows if row["python_version"] == "3.99"} == set(
        itertools.product(spans["database"], spans["use_celery"])
    )


def test_every_run_has_every_combination() -> None:
    ids = collected()
    for stage in ("test_render", "test_lock", "test_image", "test_boot", "test_checks"):
        ran = {name.rpartition("[")[2].rstrip("]") for name in ids if f"/{stage}.py" in name}
        assert {each.name for each in matrix.combinations()} <= ran, stage
    for stage in ("test_development", "test_update"):
        ran = {name.rpartition("[")[2].rstrip("]") for name in ids if f"/{stage}.py" in name}
        assert {each.name for each in matrix.covering()} <= ran, stage
    everything = collected("--full")
    assert set(ids) < set(everything)
    assert {combination_of(name) for name in everything if "/test_development.py" in name} == {
        each.name for each in matrix.combinations()
    }


def test_each_part_of_the_rotation_has_drills_of_its_own() -> None:
    first, second = (set(collected("--since", "HEAD", "--part", part)) for part in ("1", "2"))
    assert first - second
    assert second - first
    both = {name for name in first & second if "test_production.py" in name}
    assert not both or turn(None, "HEAD").changed, "a drill is in two parts, though nothing has touched it"


def test_drills_are_dealt_out_evenly() -> None:
    seconds: dict[str, float] = {"a": 50, "b": 30, "c": 20, "d": 20, "e": 10, "f": 10}
    parts = divide(seconds, 3)
    assert sorted(name for part in parts for name in part) == sorted(seconds)
    assert {sum(seconds[name] for name in part) for part in parts} == {50, 40}
    assert divide({}, 2) == [set(), set()]


def test_what_a_change_is_compared_with() -> None:
    before = turn(None, "HEAD^")
    assert before.since == "HEAD^"
    for unknown in (None, "", "0" * 40, "no-such-branch"):
        assert turn(None, unknown).since in ("HEAD^", turn(None, None).since), unknown


def test_every_pattern_of_what_touches_a_drill_matches_a_file() -> None:
    names = git_lines("ls-files", "-z")[0].split("\0")
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for listed in re.findall(r"touched_by=\[(.*?)\]", path.read_text(encoding="utf-8"), re.DOTALL):
            for pattern in re.findall(r'"([^"]+)"', listed):
                assert any(fnmatch(name, pattern) for name in names), f"{path.name}: {pattern} matches no file"


def test_what_a_change_touches_runs_in_any_case() -> None:
    # The first commit lacks every file that is there today.
    first = subprocess.run(
        ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert "tests/deployment/test_swarm.py" in turn(None, first).changed
    touched = set(collected("--since", first, "--part", "1"))
    assert not {name for name in collected("--full") if name not in touched and combination_of(name) is None}


def test_the_weekly_workflow_and_a_release_run_everything() -> None:
    full = yaml.safe_load((ROOT / ".github" / "workflows" / "full.yml").read_text(encoding="utf-8"))
    job = full["jobs"]["test"]
    assert (
        job["steps"][1]["run"]
        == f"make test full=1 shard=${{{{ matrix.shard }}}}/{len(job['strategy']['matrix']['shard'])}"
    )
    planned = subprocess.run(
        ["make", "--dry-run", "release", "version=99.0.0"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"pytest .* --full", planned)


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


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--shard", "9/8"], "'9/8' is not a shard: use 1/8 for the first of eight"),
        (["--only", "py2-oracle"], "No combination is called 'py2-oracle'"),
        (["--part", "99"], "argument --part: invalid choice: 99"),
    ],
)
def test_a_wrong_selection_is_refused(options: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", *options]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode
    assert sentence in said.stderr + said.stdout
