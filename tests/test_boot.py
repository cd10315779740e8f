"""Every combination starts on its own database, serves, passes its own tests, and stops cleanly."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.project import Project, get

KEY = "a-secret-key-of-fifty-characters-for-this-test-012"
WARNINGS = "error::DeprecationWarning,error::PendingDeprecationWarning,error::FutureWarning"
WARNINGS += ",ignore:Call to deprecated setex:DeprecationWarning"  # by Celery itself


@pytest.fixture(scope="module")
def up(project: Project, built: dict[str, Any]) -> float:
    """Development, started as the README says; how long it took, in seconds, with the image built."""
    # Nothing that starts may use what is deprecated.
    (project.path / ".env").write_text(f"PYTHONWARNINGS={WARNINGS}\n", encoding="utf-8")
    project.compose("build")
    start = time.monotonic()
    project.compose("up", "--detach", "--wait")
    return time.monotonic() - start


@pytest.fixture(scope="module")
def site(project: Project, up: float) -> str:
    """The development site's address."""
    return project.address(project.container("web"))


def test_it_comes_up(project: Project, up: float, record: Any) -> None:
    record("up s", f"{up:.1f}")
    states = project.compose("ps", "--all", "--format", "{{.Service}} {{.State}} {{.ExitCode}}").split("\n")
    assert "migrate exited 0" in states
    servers = ["web", *(["database"] if project.database != "sqlite" else [])]
    servers += ["worker", "beat", "redis"] if project.combination.answers["use_celery"] else []
    assert sorted(states) == sorted(["", "migrate exited 0", *(f"{server} running 0" for server in servers)])


def test_its_pages_answer(project: Project, site: str) -> None:
    home = get(f"{site}/")
    assert home.status == 200
    assert html.escape(project.combination.data["project_name"]) in home.text
    version = re.search(r"<dt>Database</dt>\s*<dd>(.+?)</dd>", home.text)
    assert version
    names = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL"}
    assert version[1].startswith(names[project.database])
    assert get(f"{site}/livez").status == 200
    assert get(f"{site}/readyz", {"Host": "anything.example"}).status == 200
    assert get(f"{site}/admin/login/").status == 200
    style = re.search(r'href="(/static/[^"]+\.css)"', home.text)
    assert style
    assert get(site + style[1]).status == 200


def test_its_api_answers(project: Project, site: str) -> None:
    drf = project.combination.answers["use_drf"]
    assert get(f"{site}/api/v1/users/").status == (401 if drf else 404)
    assert get(f"{site}/api/schema/").status == (200 if drf else 404)
    docs = get(f"{site}/api/docs/")
    assert docs.status == (200 if drf else 404)
    if drf:
        assets = re.findall(r'(?:src|href)="([^"]+)"', docs.text)
        assert len([asset for asset in assets if asset.startswith("/static/")]) >= 3
        assert all(asset.startswith("/") for asset in assets), "every asset is served by the site itself"
        assert all(get(site + asset).status == 200 for asset in assets)


def test_a_task_sent_over_http_is_done(project: Project, site: str) -> None:
    celery, drf = project.combination.answers["use_celery"], project.combination.answers["use_drf"]
    exports = f"{site}/api/v1/exports/" if drf else f"{site}/exports/"
    if not celery:
        assert get(exports).status == 404
        return
    ada = project.sign_in("ada")
    sent = get(exports, ada, method="POST")
    assert sent.status == 202
    deadline = time.monotonic() + 20
    while (export := json.loads(get(f"{exports}{json.loads(sent.text)['id']}/", ada).text))["state"] != "SUCCESS":
        assert time.monotonic() < deadline, export
        time.sleep(0.1)
    assert export["data"]["username"] == "ada"


def test_its_own_tests_pass(project: Project, site: str, record: Any) -> None:
    output = project.compose("exec", "-T", "web", "pytest", "-q", "-p", "no:cacheprovider")
    passed = re.search(r"(\d+) passed", output)
    assert passed
    assert int(passed[1]) >= 30
    assert "skipped" not in output
    record("own tests", passed[1])


def test_its_linters_pass(
    project: Project, up: float, checked_before: Callable[..., bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if checked_before("*.py", "pyproject.toml"):
        return
    # What mypy knows of the packages serves the next combination as well.
    known = tmp_path_factory.getbasetemp() / "mypy"
    known.mkdir(exist_ok=True)
    known.chmod(0o777)  # for the container's user
    commands = "ruff check --no-cache; ruff format --no-cache --check; mypy --cache-dir=/tmp/mypy ."
    project.compose("run", "--rm", "--no-deps", "--volume", f"{known}:/tmp/mypy", "-T", "web", "sh", "-ec", commands)


@pytest.fixture(scope="module")
def production(project: Project, site: str) -> Iterator[str]:
    """The production image's container, run with its own command and the documented variables alone."""
    network = f"{project.slug}_default"
    variables = {"SECRET_KEY": KEY, "PYTHONWARNINGS": WARNINGS} | dict(
        re.findall(r"(\w+_URL): (\S+)", project.compose("config"))
    )
    name = f"{project.slug}-production"
    project.docker(
        *("run", "--detach", "--name", name, "--network", network, "--publish", "127.0.0.1:0:8000"),
        *(word for key, value in variables.items() for word in ("--env", f"{key}={value}")),
        project.slug,
    )
    yield name
    project.docker("rm", "--force", "--volumes", name)


def test_production_serves_with_its_own_command(project: Project, production: str) -> None:
    project.wait_healthy(production)
    address = project.address(production)
    assert get(f"{address}/readyz", {"Host": "10.0.0.1"}).text == "ok\n"
    home = get(f"{address}/")
    assert home.status == 200
    assert "<dt>" not in home.text, "production does not tell its versions"
    style = re.search(r'href="(/static/site\.[0-9a-f]{12}\.css)"', home.text)
    assert style, "static files are hashed"
    answer = get(address + style[1], {"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert get(f"{address}/", {"Host": "evil.example"}).status == 400
    assert get(f"{address}/", {"X-Request-ID": "trace-1"}).status == 200
    lines = [json.loads(line) for line in project.docker("logs", production).splitlines()]
    assert [line["path"] for line in lines if line["request_id"] == "trace-1"] == ["/"], "every line is JSON"
    assert "granian" in project.docker("exec", production, "cat", "/proc/1/maps")


def test_everything_stops_cleanly(project: Project, production: str) -> None:
    start = time.monotonic()
    project.docker("stop", production)
    assert project.inspect(production)["State"]["ExitCode"] == 0
    assert time.monotonic() - start < 10, "it was killed, not stopped"
    project.compose("stop")
    states = project.compose("ps", "--all", "--format", "{{.Service}} {{.State}} {{.ExitCode}}").split()
    assert set(states[2::3]) == {"0"}, states
