"""Fixtures for all tests: the engine, the template with its releases, and one render and image per combination."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_copie.plugin import Copie

pytest.register_assert_rewrite("tests.support")

from tests.engine import Engine, ensure_engine  # noqa: E402
from tests.support import images, releases  # noqa: E402
from tests.support.once import Once  # noqa: E402
from tests.support.project import Project, remove_images, render_project  # noqa: E402

# They run inside the projects: tests/support/own_checks.py.
collect_ignore = ["ops"]

pytest_plugins = [f"tests.plugin.{name}" for name in ("selection", "scheduling", "machine", "rendering", "report")]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that everything runs on."""
    return ensure_engine()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the template with its releases as tags."""
    return releases.clone_with_releases(tmp_path_factory.mktemp("template") / "slipway")


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine, template: Path) -> Iterator[Project]:
    """The combination's project, rendered once for all of its tests."""
    made = render_project(copie_session, engine, request.param, template)
    yield made
    remove_images(made)


@pytest.fixture(scope="session")
def built(project: Project) -> dict[str, Any]:
    """The production image, built in a folder full of things that must not get into it: its inspection, and seconds."""
    return images.build(project)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Once:
    """What has been checked in this run already, by any worker."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the workers share it
    return Once(folder / "once", always=pytestconfig.getoption("--full"))


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Note a figure for the table, as in `record("build s", "3.1")`; as "elsewhere", what cannot be proved here."""

    def note(column: str, value: str) -> None:
        request.node.user_properties.append((column, value))

    return note
