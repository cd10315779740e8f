"""Two rows of the cover on Debian 13's own Docker, the oldest that projects are made for: developed and deployed."""

from __future__ import annotations

import os
import signal
import subprocess
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
from tests.support.project import PATIENCE, CommandError, Project, clean_up, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=240,
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
with urllib.request.urlopen(sys.argv[1], timeout=60, context=context) as answer:
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
    """A project on that engine, in a folder whose name has a space."""
    combination = Combination(f"slipway-stable-{request.param}", ROWS[request.param].answers)
    project = make_project(copie_session, old_engine, combination)
    project.path = project.path.rename(project.path.with_name(f"{request.param} site"))
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
    assert f"Docker ({versions[0].rpartition('.')[0]} or newer)" in readme
    assert f"Compose ({compose.rpartition('.')[0]} or newer)" in readme
    assert team.run("sh", "scripts/docker.sh") == ""


def answers(team: Project) -> bool:
    """Return whether the development site shows its home page."""
    try:
        return visit(team, team.address(team.container("web"))) == "200 True"
    except CommandError:
        return False


def test_it_is_developed_until_an_interruption(team: Project) -> None:
    up = subprocess.Popen(
        ["make", "up"],
        cwd=team.path,
        env=team.engine.env | team.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: answers(team), within=900, every=1)
        assert " passed" in team.run("make", "test")
    finally:
        os.killpg(up.pid, signal.SIGINT)  # as a terminal does for Ctrl-C
        code = up.wait(PATIENCE)
    assert code != 0
    assert team.compose("ps", "--quiet") == ""


def test_a_taken_port_leaves_nothing_running(team: Project) -> None:
    other = f"{team.slug}-other"
    team.docker("run", "--detach", "--name", other, "--publish", "127.0.0.1:8899:80", "caddy:2")
    team.environment["PORT"] = "8899"
    try:
        assert "Bind for 127.0.0.1:8899 failed: port is already allocated" in team.run("make", "up", fails=True)
        assert team.compose("ps", "--quiet") == ""
    finally:
        team.environment["PORT"] = "0"
        team.docker("rm", "--force", other)
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
