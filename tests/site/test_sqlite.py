"""SQLite's journal, with a library version whose WAL can lose data and with a fixed one.

Debian trixie has an affected version, and with it the images of Python 3.13 and 3.14. The stand-in for 3.14 has a fixed
one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.project import Project, clean_up, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=20,
    touched_by=[
        "*sqlite_lock.py*",
        "template/config/settings.py*",
        "template/ops/serve.py*",
    ],
)

KEY = "a-secret-key-of-fifty-characters-for-this-test-012"
LIBRARY = "import sqlite3; print(sqlite3.sqlite_version)"
# The previous version of the site, using WAL: it keeps the file open until it is killed.
BEFORE = """
import sqlite3
import time

database = sqlite3.connect("/data/db.sqlite3", autocommit=True)
database.execute("PRAGMA journal_mode=WAL")
database.execute("CREATE TABLE kept AS SELECT 42 AS answer")
print("at work", flush=True)
time.sleep(600)
"""
# Four writers and four readers, each in its own process, which exits with 1 after an error.
LOAD = """
import multiprocessing

import django

django.setup()

from accounts.models import User
from django.db import connection, transaction


def write(writer):
    for number in range(50):
        with transaction.atomic():
            User.objects.count()
            User.objects.create(username=f"{writer}-{number}")


def read(reader):
    while User.objects.filter(username__endswith="-49").count() < 4:
        list(User.objects.all())


fork = multiprocessing.get_context("fork")
processes = [fork.Process(target=work, args=[each]) for each in range(4) for work in (write, read)]
for process in processes:
    process.start()
for process in processes:
    process.join()
with connection.cursor() as cursor:
    [found] = cursor.execute("PRAGMA integrity_check").fetchone()
    [kept] = cursor.execute("SELECT answer FROM kept").fetchone()
    [mode] = cursor.execute("PRAGMA journal_mode").fetchone()
print([process.exitcode for process in processes], User.objects.count(), found, kept, mode)
"""


@pytest.fixture(params=["3.13", "3.14"], scope="module")
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A project with a built image."""
    answers = matrix.pick(database="sqlite", python_version=request.param).answers
    slug = f"slipway-journal-{request.param.replace('.', '-')}"
    project = make_project(copie_session, engine, Combination(slug, answers))
    project.docker("build", "--quiet", "--tag", project.slug, ".")
    yield project
    clean_up(project)


def test_the_journal_is_one_that_loses_nothing(site: Project) -> None:
    """migrate does not disturb the running previous version; once that has ended, the journal fits the library."""
    library = site.docker("run", "--rm", "--network", "none", site.slug, "python", "-c", LIBRARY).strip()
    mended = tuple(map(int, library.split("."))) >= (3, 51, 3)
    journal, verdict = ("wal", "safe") if mended else ("delete", "not safe")
    before, web, volume = f"{site.slug}-before", f"{site.slug}-web", f"{site.slug}_data"
    options = ["--env", f"SECRET_KEY={KEY}", "--volume", f"{volume}:/data"]
    try:
        site.docker("run", "--detach", "--name", before, *options, site.slug, "python", "-c", BEFORE)
        until(lambda: "at work" in site.docker("logs", before))
        site.docker("run", "--rm", *options, site.slug, "python", "manage.py", "migrate")
        site.docker("run", "--detach", "--name", web, "--publish", "127.0.0.1:0:8000", *options, site.slug)
        until(lambda: "db.sqlite3.web" in site.docker("exec", web, "ls", "/data"))
        site.docker("kill", before)
        site.wait_answering(web)
        logs = site.docker("logs", web)
        assert f"SQLite {library}: WAL is {verdict}, the journal mode is {journal}" in logs
        said = site.docker("exec", web, "python", "-c", LOAD)
        assert said.strip() == f"{[0] * 8} 200 ok 42 {journal}", said + site.docker("logs", web)
    finally:
        site.docker("rm", "--force", before, web)
        site.docker("volume", "rm", "--force", volume)


def test_a_journal_that_cannot_change_stops_the_start(site: Project) -> None:
    """Neither the web container nor another process uses WAL with an affected library."""
    before, volume = f"{site.slug}-before", f"{site.slug}_data"
    options = ["--env", f"SECRET_KEY={KEY}", "--volume", f"{volume}:/data"]
    start = "from ops import serve, sqlite_lock; sqlite_lock.JOURNAL_TIMEOUT = 1; serve.check()"
    task = "import django; django.setup(); from django.db import connection; connection.ensure_connection()"
    try:
        library = site.docker("run", "--rm", "--network", "none", site.slug, "python", "-c", LIBRARY).strip()
        mended = tuple(map(int, library.split("."))) >= (3, 51, 3)
        site.docker("run", "--detach", "--name", before, *options, site.slug, "python", "-c", BEFORE)
        until(lambda: "at work" in site.docker("logs", before))
        said = site.docker("run", "--rm", *options, site.slug, "python", "-c", start, fails=not mended)
        if not mended:
            assert said.startswith("Configuration error: the database's journal mode must become DELETE")
            assert len(said.splitlines()) == 1
        said = site.docker("run", "--rm", *options, site.slug, "python", "-c", task, fails=not mended)
        assert mended or "database is locked" in said.splitlines()[-1]
    finally:
        site.docker("rm", "--force", before)
        site.docker("volume", "rm", "--force", volume)
