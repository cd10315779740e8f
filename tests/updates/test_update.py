"""`copier update`, from every release, over the edits that a team makes: nothing of theirs is lost or conflicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.selection import TURN, selected
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.releases import commit_all, git, releases
from tests.support.updates import EDITS, milestones, older, prove, update


def test_there_are_releases() -> None:
    assert releases(), "no release is in the history: use a full clone, not a shallow one"


@pytest.mark.covering
def test_an_update_keeps_every_edit(
    combination: Combination,
    template: Path,
    memory: Path,
    record: Callable[[str, str], None],
    pytestconfig: pytest.Config,
) -> None:
    """From one release per combination, in turn; in a full run from three. More releases cost no more time."""
    rows = selected(pytestconfig, covering=3)
    turn = rows.index(combination) + pytestconfig.stash[TURN].part
    tags = older(template)
    chosen = [tags[turn % len(tags)]] if rows == list(matrix.covering()) else milestones(tags, turn)
    record("updates", f"from {', '.join(chosen)}, no conflict")
    for release in chosen:
        prove(template, memory, release, combination)


def test_a_release_need_not_know_every_choice(newer: Path, memory: Path) -> None:
    """Projects of all releases can choose an answer that is new today, during the update."""
    document = newer / "copier.yml"
    last = f'    - "{matrix.choices("python_version")[-1]}"\n'
    with_choice = document.read_text(encoding="utf-8").replace(last, f'{last}    - "3.99"\n')
    document.write_text(with_choice, encoding="utf-8")
    commit_all(newer)
    new = {**matrix.default_combination().answers, "python_version": "3.99"}
    project = prove(newer, memory, next(iter(releases())), Combination("new", new))
    assert 'requires-python = ">=3.99"' in (project / "pyproject.toml").read_text(encoding="utf-8")


def test_every_release_has_its_turn_and_none_costs_more() -> None:
    tags = [f"v{number}" for number in range(30)]
    turns = [milestones(tags, number) for number in range(len(list(matrix.combinations())))]
    assert {tag for turn in turns for tag in turn} == set(tags)
    assert all(turn[0] == "v0" and turn[-1] == "v29" and len(turn) <= 3 for turn in turns)
    assert milestones(tags) == ["v0", "v15", "v29"]
    assert milestones(tags[:2]) == tags[:2]
    assert milestones(tags[:1]) == tags[:1]


def toggles() -> list[tuple[str, Any, Any]]:
    """Return every change of an answer: question, before, after."""
    return [
        (question, before, after)
        for question, offered in matrix.axes().items()
        for before in offered
        for after in offered
        if before != after
    ]


@pytest.mark.parametrize("deploy", [answer for answer in matrix.choices("deploy") if answer != "compose"])
def test_a_project_of_the_oldest_release_can_move_to_a_cluster(
    deploy: str, template: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And back. Two files end with lines that depend on the answer, so lines that a team adds there conflict."""
    for name in ("Makefile", ".env.example"):
        monkeypatch.delitem(EDITS, name)
    combination = matrix.pick(database="postgres", use_celery=True)
    project = prove(template, memory, next(iter(releases())), combination, deploy=deploy)
    commit_all(project)
    update(project, deploy="compose")
    assert git("ls-files", "--unmerged", at=project) == ""
    assert (project / "compose.production.yaml").exists()
    assert not (project / "deploy").exists()


@pytest.mark.rotates(seconds=20, touched_by=["tests/support/updates.py"])
@pytest.mark.parametrize(("question", "before", "after"), toggles())
def test_an_answer_can_be_changed(question: str, before: Any, after: Any, template: Path, memory: Path) -> None:
    everything = {"database": "postgres", "use_celery": True} if toggles().index((question, before, after)) % 2 else {}
    combination = matrix.pick(**everything | {question: before})
    project = prove(template, memory, next(iter(releases())), combination, **{question: after})
    commit_all(project)
    update(project)
    assert git("status", "--porcelain", at=project) == "", "a second update changes files"
