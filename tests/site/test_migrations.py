"""Containers that start together, on real ones: migrations take turns, and SQLite has one web container."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.project import Project, clean_up, get, make_project

pytestmark = pytest.mark.rotates(
    seconds=25,
    touched_by=[
        "*migrate.py*",
        "*single.py*",
    ],
)

TOGETHER = 5
WAITING = "Another migrate is at work on this database: waiting for it"
KEY = "a-secret-key-of-fifty-characters-for-this-test-012"
# Containers start one after the other: each waits here, with all its modules loaded, until all of them are there.
START = f"""
import os
import socket
import time
from pathlib import Path

import django
from django.core.management import execute_from_command_line


django.setup()
Path("start", socket.gethostname()).touch()
while len(os.listdir("start")) < {TOGETHER}:
    time.sleep(0.005)
execute_from_command_line(["manage.py", "migrate"])
"""
OVERRIDE = """
services:
  migrate:
    command: python start.py
"""


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "mysql"], scope="module")
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A project that is built, with its database server up if it has one, and nothing migrated."""
    answers = matrix.pick(database=request.param).answers
    project = make_project(copie_session, engine, Combination(f"slipway-migrate-{request.param}", answers))
    (project.path / "start.py").write_text(START, encoding="utf-8")
    (project.path / "override.yaml").write_text(OVERRIDE, encoding="utf-8")
    project.environment["COMPOSE_FILE"] = "compose.yaml:override.yaml"
    project.compose("build")
    if project.database != "sqlite":
        project.compose("up", "--detach", "--wait", "database")
    yield project
    clean_up(project)


def migrate_together(site: Project) -> str:
    """Start the migrate containers at the same moment, and return what they said; AssertionError if one fails."""
    start = site.path / "start"
    shutil.rmtree(start, ignore_errors=True)
    start.mkdir()
    subprocess.run(["chown", "--reference", str(site.path / "manage.py"), str(start)], check=True)
    said = site.compose("up", "--no-color", "--no-deps", "--scale", f"migrate={TOGETHER}", "migrate")
    ends = site.compose("ps", "--all", "--format", "{{.State}} {{.ExitCode}}", "migrate").splitlines()
    assert ends == ["exited 0"] * TOGETHER, said
    return said


def test_five_that_start_at_once_all_succeed(site: Project) -> None:
    said = migrate_together(site)
    applied = re.findall(r"Applying (\S+)\.\.\. OK", said)
    assert len(applied) == len(set(applied)) > 10
    assert WAITING in said
    assert said.count("No migrations to apply") == TOGETHER - 1
    assert migrate_together(site).count("No migrations to apply") == TOGETHER


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_sqlite_has_one_web_container(site: Project) -> None:
    """The first goes on serving; when it is killed, there is room for another."""
    image, first, second = f"{site.slug}-web", f"{site.slug}-first", f"{site.slug}-second"
    options = ["--env", f"SECRET_KEY={KEY}", "--volume", f"{site.slug}_production:/data"]
    try:
        site.docker("run", "--detach", "--name", first, "--publish", "127.0.0.1:0:8000", *options, image)
        site.wait_healthy(first)
        assert site.docker("run", "--rm", *options, image, fails=True) == (
            "Configuration error: another web container uses the database at /data/db.sqlite3. "
            "SQLite takes one: stop it, or choose a server database to scale.\n"
        )
        assert get(f"{site.address(first)}/readyz").status == 200
        # It keeps nobody else from migrating.
        site.docker("exec", first, "python", "manage.py", "migrate")
        site.docker("run", "--detach", "--name", second, *options, image)
        site.docker("kill", first)
        site.wait_healthy(second)
    finally:
        site.docker("rm", "--force", first, second)
        site.docker("volume", "rm", "--force", f"{site.slug}_production")
