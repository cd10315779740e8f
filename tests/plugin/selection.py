"""Which tests run: combinations and covering ones, a shard, and the part of the expensive drills whose turn it is.

`make test` tests every combination, and runs one part of the drills that are marked `rotates`, and those that the
change touches. `make test full=1` runs everything, and the covering tests for every combination.
"""

from __future__ import annotations

import subprocess
from argparse import ArgumentTypeError
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.support import matrix
from tests.support.matrix import ROOT, Combination

# The number of parts of the rotating drills: the smallest that fits the time of a run.
PARTS = 24
# The stages of a combination, in the order in which they run.
STAGES = ["test_render", "test_lock", "test_image", "test_boot", "test_development", "test_checks", "test_update"]
# Modules that set up one project per value of their first parameter, and share nothing between them.
BY_PARAMETER = {
    *("test_added", "test_backup", "test_continuity", "test_deploys", "test_kubernetes", "test_migrations"),
    *("test_offsite", "test_older_data", "test_production", "test_sqlite", "test_stable_docker", "test_swarm"),
    *("test_update", "test_updated", "test_workflow"),
}
_NAMES = {each.name: number for number, each in enumerate(matrix.combinations())}
_COVERING = {each.name for each in matrix.covering()}


@dataclass
class Turn:
    """The part of the rotating drills whose turn it is, and what the change touches."""

    part: int  #: from 1 to PARTS
    since: str  #: the commit that the change is compared with
    changed: list[str] = field(default_factory=list)  #: names of files


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options behind `make test only=NAME shard=1/8 full=1 part=2 since=REF`."""
    parser.addoption("--only", metavar="NAME", help="test one combination alone, such as py3.14-postgres-drf-multi")
    parser.addoption("--shard", metavar="1/8", type=shard, default="1/1", help="run the first of eight parts alone")
    parser.addoption("--full", action="store_true", help="run everything, for every combination")
    parser.addoption("--part", type=int, choices=range(1, PARTS + 1), help="which of the rotating drills run")
    parser.addoption("--since", metavar="REF", help="run what has been touched since this commit in any case")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and determine whose turn it is."""
    config.addinivalue_line("markers", "covering(strength=3): runs for combinations that cover all triples of answers")
    config.addinivalue_line("markers", "rotates(seconds, touched_by): dear; runs in turn, or when it is touched")
    if hasattr(config, "workerinput"):
        config.stash[TURN] = Turn(**config.workerinput["turn"])
    else:
        config.stash[TURN] = turn(config.getoption("--part"), config.getoption("--since"))


TURN = pytest.StashKey[Turn]()
LEFT = pytest.StashKey[list[str]]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker whose turn it is: all must choose the same tests."""
    node.workerinput["turn"] = vars(node.config.stash[TURN])


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which drills' turn it is."""
    if config.getoption("--full"):
        return ["everything, for every combination"]
    if config.getoption("--only"):
        return []
    turn = config.stash[TURN]
    return [
        f"rotating drills: part {turn.part} of {PARTS}, and what {len(turn.changed)} files touch that have changed "
        f"since {turn.since} (part=1 to {PARTS}, since=REF; full=1 runs all)"
    ]


def git_lines(*arguments: str) -> list[str]:
    """Return git's output as lines, [] if it fails: the tests may run without a repository."""
    command = ["git", "-c", "safe.directory=*", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()


def turn(part: int | None, since: str | None) -> Turn:
    """Return whose turn it is: the number of commits selects the part, so that the next commit runs the next one.

    The change is the difference from `since`, including what is not committed. If `since` names no commit here, it is
    the difference from the merge base with the upstream branch or, in a clean clone, from the previous commit.
    """
    commits = len(git_lines("rev-list", "HEAD"))
    # GitHub's `before` is all zeros for a new branch, and a commit that is missing here after a forced push.
    if not since or not git_lines("rev-parse", "--verify", "--quiet", f"{since}^{{commit}}"):
        bases = git_lines("merge-base", "HEAD", "@{upstream}")
        since = bases[0][:12] if bases and bases != git_lines("rev-parse", "HEAD") else "HEAD^"
    untracked = git_lines("ls-files", "--others", "--exclude-standard")
    return Turn(part or commits % PARTS + 1, since, [*git_lines("diff", "--name-only", since), *untracked])


def shard(text: str) -> tuple[int, int]:
    """Parse 1/8 as (1, 8); ArgumentTypeError with a sentence if that fails."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ArgumentTypeError(f"{text!r} is not a shard: use 1/8 for the first of eight")
    return int(part), int(parts)


def in_shard(nodeids: Iterable[str], part: int, parts: int) -> set[str]:
    """Return the tests of one part out of several. Tests of one scope stay together."""
    nodeids = list(nodeids)
    scopes = list(dict.fromkeys(map(scope_of, nodeids)))
    mine = set(scopes[part - 1 :: parts])
    return {nodeid for nodeid in nodeids if scope_of(nodeid) in mine}


def selected(config: pytest.Config, covering: int = 0) -> list[Combination]:
    """Return the combinations to test: all, or those that cover any two or three answers.

    UsageError if `--only` names none.
    """
    only = config.getoption("--only")
    try:
        if only:
            return [matrix.combination(only)]
    except LookupError as error:
        raise pytest.UsageError(str(error)) from None
    if not covering or config.getoption("--full"):
        return list(matrix.combinations())
    return list(matrix.covering() if covering == 3 else matrix.covering_pairs())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize every test that uses `project` or `combination` with the selected combinations."""
    mark = metafunc.definition.get_closest_marker("covering")
    covering = mark.kwargs.get("strength", 3) if mark else 0
    for name in {"project", "combination"} & {*metafunc.fixturenames}:
        chosen = selected(metafunc.config, covering)
        ids = [each.name for each in chosen]
        metafunc.parametrize(name, chosen, ids=ids, indirect=name == "project", scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that are not selected or not due, and sort the rest."""
    if config.getoption("--only"):
        items[:] = [item for item in items if combination_of(item.nodeid)]
    items.sort(key=order)
    due = set(in_turn({item.nodeid: item for item in items}, config))
    shards = config.getoption("--shard")
    mine = in_shard([item.nodeid for item in items if item.nodeid in due], *shards)
    left = [item.nodeid for item in items if item.nodeid not in due]
    config.stash[LEFT] = list(dict.fromkeys(map(scope_of, left)))
    items[:] = [item for item in items if item.nodeid in mine]


def in_turn(items: dict[str, pytest.Item], config: pytest.Config) -> list[str]:
    """Return the ids of the tests that are due: all but rotating drills that are not touched and not in this part."""
    if config.getoption("--full"):
        return list(items)
    seconds: dict[str, float] = {}
    touched: set[str] = set()
    for nodeid, item in items.items():
        if mark := item.get_closest_marker("rotates"):
            scope = scope_of(nodeid)
            seconds[scope] = mark.kwargs["seconds"]
            patterns = [*mark.kwargs["touched_by"], str(item.path.relative_to(ROOT))]
            if any(fnmatch(name, pattern) for name in config.stash[TURN].changed for pattern in patterns):
                touched.add(scope)
    mine = divide(seconds)[config.stash[TURN].part - 1]
    return [nodeid for nodeid in items if (scope := scope_of(nodeid)) not in seconds or scope in mine | touched]


def divide(seconds: dict[str, float], parts: int = PARTS) -> list[set[str]]:
    """Divide drills, name -> seconds, into parts that take about the same time. The longest are dealt out first."""
    dealt: list[set[str]] = [set() for _ in range(parts)]
    for name in sorted(seconds, key=lambda name: (-seconds[name], name)):
        min(dealt, key=lambda part: sum(seconds[each] for each in part)).add(name)
    return dealt


def order(item: pytest.Item) -> tuple[int, ...]:
    """Return the sort key: first tests beside the matrix, then the covering combinations, then the others."""
    name = combination_of(item.nodeid)
    if name is None:
        return (0,)
    return (1 if name in _COVERING else 2, _NAMES[name], STAGES.index(item.path.stem))


def scope_of(nodeid: str) -> str:
    """Return a test's scope: its combination, its module with the first parameter, or its module."""
    module, _, test = nodeid.partition("::")
    if combination := combination_of(nodeid):
        return combination
    if Path(module).stem in BY_PARAMETER and test.endswith("]"):
        return f"{module}[{test.partition('[')[2].rstrip(']').partition('-')[0]}]"
    return module


def combination_of(nodeid: str) -> str | None:
    """Return the name of the combination that a test is for, or None."""
    name = nodeid.rpartition("[")[2].rstrip("]") if nodeid.endswith("]") else ""
    return name if name in _NAMES else None
