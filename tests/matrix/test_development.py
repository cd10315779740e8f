"""The covering combinations in development, as the README starts it: up, its own tests, an edit, a clean stop."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import asked
from tests.support.once import Once
from tests.support.own_checks import MYPY, RUFF, TESTS, mypy_volume, of_the_plumbing, passed, plumbing_tests
from tests.support.project import DOWN, PATIENCE, Project, get, until
from tests.support.servers import WARNINGS, copy_first_boot, run_name

pytestmark = pytest.mark.covering
LABELS = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL"}


@pytest.fixture(scope="module")
def up(project: Project, pytestconfig: pytest.Config) -> Iterator[float]:
    """Development, started as the README says: the seconds that this took once the image was built."""
    # Deprecated features are errors in everything that starts.
    (project.path / ".env").write_text(f"PYTHONWARNINGS={WARNINGS}\n", encoding="utf-8")
    settings = project.path / "config" / "settings.py"
    before = settings.read_text(encoding="utf-8")
    project.compose(*DOWN)  # leftovers of a killed run
    try:
        project.compose("build")
        copy_first_boot(project, run_name(pytestconfig))
        start = time.monotonic()
        project.compose("up", "--detach")
        for container in project.compose("ps", "--quiet").split():
            project.wait_healthy(container)  # `--wait` gives up on one that starts slowly
        yield time.monotonic() - start
    finally:
        settings.write_text(before, encoding="utf-8")
        project.compose(*DOWN)


@pytest.fixture(scope="module")
def site(project: Project, up: float) -> str:
    """The development site's address."""
    return project.address(project.container("web"))


def test_it_comes_up(project: Project, up: float, once: Once, record: Any) -> None:
    once.first("own tests", project)  # they run below, for all combinations with the same code
    record("up s", f"{up:.1f}")
    states = project.compose("ps", "--all", "--format", "{{.Service}} {{.State}} {{.ExitCode}}").split("\n")
    assert "migrate exited 0" in states
    servers = ["web", *(["database"] if project.database != "sqlite" else [])]
    servers += ["worker", "beat", "redis"] if project.combination.answers["use_celery"] else []
    assert sorted(states) == sorted(["", "migrate exited 0", *(f"{server} running 0" for server in servers)])


def test_an_edit_is_served(project: Project, site: str) -> None:
    name = project.combination.data["project_name"]

    def served() -> bool:
        try:
            return f"<h1>Edited {html.escape(name)}</h1>" in get(f"{site}/").text
        except OSError:  # the server is reloading
            return False

    project.edit("config/settings.py", f'SITE_NAME = "{name}"', f'SITE_NAME = "Edited {name}"')
    until(served, every=0.1)


def test_its_pages_answer(project: Project, site: str) -> None:
    home = get(f"{site}/")
    asked.home_page(project, home)
    version = re.search(r"<dt>Database</dt>\s*<dd>(.+?)</dd>", home.text)
    assert version
    assert version[1].startswith(LABELS[project.database])
    assert get(f"{site}/livez").status == 200
    assert get(f"{site}/readyz", {"Host": "anything.example"}).status == 200
    assert get(f"{site}/admin/login/").status == 200
    style = re.search(r'href="(/static/[^"]+\.css)"', home.text)
    assert style
    assert get(site + style[1]).status == 200
    asked.api(project, site)


def test_a_task_sent_over_http_is_done(project: Project, site: str) -> None:
    shell = ("exec", "-T", "web", "python", "manage.py", "shell", "--no-imports", "-c")
    asked.task(project, site, lambda code: project.compose(*shell, code))


def test_its_own_tests_and_linters_pass(project: Project, site: str, record: Any, pytestconfig: pytest.Config) -> None:
    every = bool(pytestconfig.getoption("--full") or pytestconfig.getoption("--only"))
    with plumbing_tests(project, every=every) as options:
        run = ("run", "--rm", "--no-deps", *mypy_volume(project), *options, "-T", "web", "sh", "-ec")
        least = 70 if of_the_plumbing(project.combination, every=every) else 20
        record("own tests", str(passed(project.compose(*run, f"{TESTS}; {RUFF}; {MYPY}"), least)))


def test_everything_stops_cleanly(project: Project, site: str) -> None:
    project.compose("stop", "--timeout", str(PATIENCE))
    states = project.compose("ps", "--all", "--format", "{{.Service}} {{.State}} {{.ExitCode}}").split()
    assert set(states[2::3]) == {"0"}, states
