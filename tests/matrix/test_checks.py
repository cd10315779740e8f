"""Checks of content that combinations share, each run once for each distinct content (tests/support/once.py)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plugin.selection import selected
from tests.support import rendered
from tests.support.once import Once
from tests.support.own_checks import passed
from tests.support.project import Project
from tests.support.rendered import tool
from tests.support.servers import Site, ensure_server, run_name
from tools import lock


def test_python_is_clean(project: Project, once: Once) -> None:
    if copy := once.take("ruff", project):
        rendered.python_is_clean(copy)


def test_yaml_is_clean(project: Project, once: Once) -> None:
    if copy := once.take("yamllint", project):
        rendered.yaml_is_clean(copy)


def test_the_dockerfile_is_clean(project: Project, once: Once) -> None:
    if copy := once.take("Dockerfile", project):
        copy.run(tool("hadolint"), "Dockerfile")
        assert "no warnings found" in copy.docker("build", "--check", ".")


def test_the_compose_file_is_clean(project: Project, once: Once) -> None:
    if copy := once.take("Compose", project):
        rendered.the_compose_file_is_clean(copy)


def test_the_makefile_lists_its_targets(project: Project, once: Once) -> None:
    if copy := once.take("Makefile", project):
        rendered.the_makefile_lists_its_targets(copy)


def test_a_lock_is_the_closure_of_its_pyproject(project: Project, once: Once) -> None:
    if copy := once.take("lock", project):
        # Whatever its age by now, and even if the index does not tell it.
        options = ["--exclude-newer", "false"]
        try:
            lock.compile_locks(copy.path, *options, "--offline")  # mostly, an earlier combination has asked the index
        except RuntimeError:
            lock.compile_locks(copy.path, *options)
        for name in lock.LOCKS:
            expected = (project.path / name).read_text(encoding="utf-8")
            assert (copy.path / name).read_text(encoding="utf-8") == expected, name


def test_its_own_tests_and_linters_pass(
    project: Project, built: dict[str, Any], once: Once, record: Any, pytestconfig: pytest.Config
) -> None:
    """In the production image, with the development packages beside it.

    The covering combinations run them in the development image, with ours of the plumbing: test_development.
    """
    if project.combination in selected(pytestconfig, covering=3):
        return
    if (copy := once.take("own tests", project)) is None:
        return
    site = Site(project, ensure_server(project, run_name(pytestconfig)))
    try:
        record("own tests", str(passed(site.check_code(copy.path))))
    finally:
        site.remove()
