"""A check that many combinations share runs again as soon as anything that it reads changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.once import READS, Once, fingerprint, read_by
from tests.support.project import Project, render_project
from tests.support.rendered import names


@pytest.fixture(scope="module")
def rendered_project(copie_session: Copie, engine: Engine) -> Project:
    """A project with PostgreSQL, DRF and Celery."""
    answers = matrix.pick(database="postgres", use_celery=True).answers
    return render_project(copie_session, engine, Combination("slipway-once", answers))


@pytest.mark.parametrize("check", READS)
def test_a_check_runs_again_when_what_it_reads_changes(check: str, rendered_project: Project, tmp_path: Path) -> None:
    once = Once(tmp_path)
    assert once.take(check, rendered_project)
    assert once.take(check, rendered_project) is None
    for name in read_by(check, rendered_project):
        path = rendered_project.path / name
        before = path.read_bytes()
        try:
            path.write_bytes(before + b"\n# Changed.\n")
            assert once.first(check, rendered_project), f"{check} does not notice a change of {name}"
        finally:
            path.write_bytes(before)
    assert once.take(check, rendered_project) is None


@pytest.mark.parametrize("check", READS)
def test_a_check_sees_nothing_but_what_is_in_its_fingerprint(
    check: str, rendered_project: Project, tmp_path: Path
) -> None:
    copy = Once(tmp_path).take(check, rendered_project)
    assert copy
    assert copy.path != rendered_project.path
    assert names(copy.path) == sorted(read_by(check, rendered_project))
    assert names(copy.path), f"{check} reads no file"


def test_another_name_makes_no_difference_and_another_answer_does(copie_session: Copie, engine: Engine) -> None:
    answers = matrix.pick(database="postgres", use_celery=True).answers
    first, renamed = (
        render_project(copie_session, engine, Combination(name, answers)) for name in ("slipway-one", "slipway-other")
    )
    other = render_project(copie_session, engine, Combination("slipway-third", {**answers, "python_version": "3.12"}))
    for check in READS:
        assert fingerprint(check, first) == fingerprint(check, renamed), check
    assert {check for check in READS if fingerprint(check, first) != fingerprint(check, other)} >= {
        "ruff",
        "Dockerfile",
        "lock",
        "own tests",
    }


def test_in_full_every_check_runs_every_time(rendered_project: Project, tmp_path: Path) -> None:
    once = Once(tmp_path, always=True)
    assert once.first("ruff", rendered_project)
    assert once.first("ruff", replace(rendered_project))


def test_each_database_server_has_its_own_tests_run(copie_session: Copie, engine: Engine) -> None:
    """The code of MySQL and MariaDB projects is the same, and their tests still run separately."""
    digests = {
        fingerprint("own tests", render_project(copie_session, engine, Combination(f"slipway-once-{name}", answers)))
        for name in matrix.choices("database")
        for answers in [matrix.pick(database=name).answers]
    }
    assert len(digests) == len(matrix.choices("database"))
