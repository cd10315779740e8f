"""Errors, traces and metrics arrive, once a team has uncommented the packages that send them."""

from __future__ import annotations

import shutil

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.own_checks import MYPY, OPS, mypy_volume
from tests.support.project import add_telemetry, clean_up, make_project

pytestmark = pytest.mark.rotates(
    seconds=60, touched_by=["template/ops/telemetry.py*", "template/ops/metrics.py*", "template/pyproject.toml*"]
)


@pytest.mark.parametrize("celery", [True, False])
def test_errors_and_traces_arrive(celery: bool, copie_session: Copie, engine: Engine) -> None:
    answers = matrix.pick(use_celery=celery, database="sqlite").answers
    name = "slipway-telemetry" + "-celery" * celery
    project = make_project(copie_session, engine, Combination(name, answers))
    try:
        add_telemetry(project)
        folder = project.path / "tests" / "ops"
        folder.mkdir()
        shutil.copytree(OPS / "telemetry", folder / "telemetry")
        project.compose("build", "web")
        checks = f"pytest -q -p no:cacheprovider tests/ops/telemetry; {MYPY}"
        said = project.compose("run", "--rm", "--no-deps", "-T", *mypy_volume(project), "web", "sh", "-ec", checks)
        assert "2 passed" in said
    finally:
        clean_up(project)
