"""Two rows of the cover on Debian 13's own Docker, the oldest that projects are made for: developed and deployed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.engine.debian import codename
from tests.engine.stable import WITHIN, stable_engine
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import Project, clean_up, make_project

pytestmark = pytest.mark.rotates(
    seconds=150,
    touched_by=[
        *("hooks/docker/*", "hooks/deploy/*.sh", "*/production.sh*", "*/docker.sh", "*/packages.sh", "*compose*.jinja"),
        "tests/engine/*.py",
    ],
)
ROWS = {
    "sqlite": matrix.pick(multi_stage=False),
    "postgres": matrix.pick(database="postgres", use_celery=True),
}
# Prints the status of a page of this engine's machine, and the names that are in it.
VISIT = """
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
with urllib.request.urlopen(sys.argv[1], timeout=30, context=context) as answer:
    print(answer.status, sys.argv[2] in answer.read().decode())
"""


@pytest.fixture(scope="module")
def old_engine(engine: Engine) -> Iterator[Engine]:
    """Debian 13's engine, with the images that the rows need."""
    if os.getuid() or not codename():
        pytest.skip("another Docker engine can only be started by root on Debian")
    names = {name for row in ROWS.values() for name in matrix.images(row)} | {"caddy:2"}
    for name in names:
        ensure_image(engine, name)
    with stable_engine(engine, sorted(names)) as found:
        yield found


@pytest.fixture(scope="module", params=ROWS)
def team(request: pytest.FixtureRequest, copie_session: Copie, old_engine: Engine) -> Iterator[Project]:
    """A project on that engine."""
    combination = Combination(f"slipway-stable-{request.param}", ROWS[request.param].answers)
    project = make_project(copie_session, old_engine, combination)
    yield project
    clean_up(project)


def visit(team: Project, url: str) -> str:
    """Return the status of a page, and whether it names the project."""
    page = [sys.executable, "-c", VISIT, url, team.slug]
    return team.run(*WITHIN, *page).strip()


def test_it_is_the_one_that_the_readme_asks_for(team: Project) -> None:
    versions = team.run("docker", "version", "--format", "{{.Client.Version}} {{.Server.Version}}").split()
    compose = team.run("docker", "compose", "version", "--short")
    readme = (team.path / "README.md").read_text(encoding="utf-8")
    assert [version.rpartition(".")[0] for version in versions] == ["26.1", "26.1"]
    assert f"Docker {versions[0].rpartition('.')[0]} or newer" in readme
    assert f"Compose {compose.rpartition('.')[0]} or newer" in readme
    assert team.run("sh", "scripts/docker.sh") == ""


def test_it_is_developed(team: Project) -> None:
    try:
        team.compose("up", "--detach", "--wait")
        assert visit(team, team.address(team.container("web"))) == "200 True"
        assert " passed" in team.run("make", "test")
    finally:
        team.compose("down", "--volumes", "--timeout", "1")


def test_it_is_deployed_backed_up_and_replaced(team: Project) -> None:
    site = Production(team, 8080, 8443)
    site.configure(94, "PULL=0")
    try:
        site.make("secrets")
        said = site.deploy_commit()
        assert said.splitlines()[-1].endswith("is up at https://localhost:8443")
        assert visit(team, "https://localhost:8443/") == "200 True"
        first = team.environment["TAG"]
        site.make("backup")
        team.edit("config/views.py", '"""', '"""New. ')
        team.commit("Change a page")
        site.deploy_commit()
        assert team.environment["TAG"] != first
        assert visit(team, "https://localhost:8443/") == "200 True"
        [backup] = (team.path / "backups").iterdir()
        site.make("restore", f"FILE=backups/{backup.name}")
        site.make("rollback", f"TAG={first}")
        assert visit(team, "https://localhost:8443/") == "200 True"
    finally:
        site.remove()
