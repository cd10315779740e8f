"""Databases under load: migrations run one at a time, every wait has a limit, SQLite has one web container."""

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
    seconds=90,
    touched_by=[
        "*migrate.py*",
        "*sqlite_lock.py*",
        "template/ops/env.py*",
        "template/config/settings.py*",
    ],
)

TOGETHER = 5
WAITING = "Another migrate is running on this database: waiting for it"
KEY = "a-secret-key-of-fifty-characters-for-this-test-012"
# Containers start one after the other: each loads its modules, and waits here for the others.
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
# Finds the session that holds the lock of a running migrate; on PostgreSQL, also terminates it.
HOLDER = {
    "postgres": "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'",
    "mysql": "SELECT IS_USED_LOCK(CONCAT('migrate ', SHA2(DATABASE(), 224)))",
}
HOLDER["mariadb"] = HOLDER["mysql"]
# Terminates the session that holds the lock when migrate has applied everything and is about to end.
CUT = """
import django

django.setup()

from django.core.management import call_command
from django.db import connection
from django.db.models.signals import post_migrate


def cut(app_config, **_):
    if app_config.label != "accounts":
        return
    with connection.cursor() as cursor:
        cursor.execute({holder!r})
        [found] = cursor.fetchone()
        assert found
        if connection.vendor == "mysql":
            cursor.execute(f"KILL {{found}}")


post_migrate.connect(cut)
call_command("migrate")
print("migrated")
"""
# The server closes sessions that are idle for a second, and migrate takes three.
IDLE = """
import django

django.setup()

from django.core.management import call_command
from django.db import connection
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate

from ops.management.commands import migrate


def be_strict(connection, **_):
    with connection.cursor() as cursor:
        cursor.execute({strict!r})


def take_long(app_config, **_):
    if app_config.label == "accounts":
        with connection.cursor() as cursor:
            cursor.execute({slow!r})


migrate.KEEPALIVE_INTERVAL = 0.2
connection_created.connect(be_strict)
post_migrate.connect(take_long)
call_command("migrate")
print("migrated")
"""
STRICT = {
    "postgres": "SET idle_session_timeout = 1000",
    "mysql": "SET SESSION wait_timeout = 1",
    "mariadb": "SET SESSION wait_timeout = 1",
}
SLEEP = {"postgres": "SELECT pg_sleep(3)", "mysql": "SELECT SLEEP(3)", "mariadb": "SELECT SLEEP(3)"}
SECOND = """
from config.settings import *

DATABASES["reports"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/tmp/reports.sqlite3"}
"""
# The limits here: one second for waits, two for statements except migrate's, six for idle transactions.
LIMITS = """
import faulthandler
import threading
import time
from contextlib import closing, contextmanager

import django

django.setup()

from django.core.management import CommandError, call_command
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models.signals import post_migrate

from ops.management.commands import migrate

faulthandler.dump_traceback_later(300, exit=True)
migrate.ATTEMPTS = 2


@contextmanager
def refused(*errors):
    start = time.monotonic()
    try:
        yield
    except errors as error:
        assert time.monotonic() - start < 40, error
        print("refused:", " ".join(str(error).split()))
    else:
        raise AssertionError("it went on")


def execute(session, sql):
    with session.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


with refused(OperationalError):
    execute(connection, {endless!r})

with closing(connection.copy()) as other:
    other.set_autocommit(False)
    execute(other, "UPDATE django_migrations SET app = app")
    with refused(OperationalError):
        execute(connection, "UPDATE django_migrations SET app = app")

with closing(connection.copy()) as other:
    other.set_autocommit(False)
    [session] = execute(other, {me!r})
    deadline = time.monotonic() + 20
    while execute(connection, {there!r}.format(session)) != (0,):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with refused(DatabaseError, InterfaceError):
        execute(other, "SELECT 1")

with closing(connection.copy()) as other:
    other.set_autocommit(False)
    execute(other, "SELECT COUNT(*) FROM django_session")
    with refused(CommandError):
        call_command("migrate", "sessions", "zero", verbosity=0)
    if connection.vendor == "mysql":  # whose migrations are not undone: they try again
        migrate.ATTEMPTS = 10
        execute(other, "SELECT COUNT(*) FROM django_session")
        other.inc_thread_sharing()
        threading.Timer(2, other.rollback).start()
        call_command("migrate", "sessions", "zero", verbosity=0)
        call_command("migrate", verbosity=0)


def take_long(app_config, **_):
    if app_config.label == "accounts":
        execute(connection, {slow!r})


post_migrate.connect(take_long)
call_command("migrate", "sessions", "zero", verbosity=0)
call_command("migrate", verbosity=0)
print("done")
"""
ENDLESS = {
    "postgres": "SELECT pg_sleep(60)",
    "mysql": "SELECT COUNT(*) FROM django_migrations WHERE SLEEP(60)",
    "mariadb": "SELECT COUNT(*) FROM django_migrations WHERE SLEEP(60)",
}
ME = {"postgres": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
# A transaction begins with its first read of a table.
ME["mariadb"] = "SELECT CONNECTION_ID() FROM django_migrations LIMIT 1"
THERE = {
    "postgres": "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = {}",
    "mysql": "SELECT COUNT(*) FROM performance_schema.threads WHERE processlist_id = {}",
    "mariadb": "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {}",
}
TEXT = """
import django

django.setup()

from django.db import IntegrityError, connection, transaction
from django.db.models import CharField
from django.db.models.functions import Cast

from accounts.models import User

with connection.cursor() as cursor:
    cursor.execute("SELECT @@collation_database, @@collation_connection")
    print(*cursor.fetchone())
with transaction.atomic():
    for name in ("case", "C\u00e4se", "C\u00e5se", "case "):
        User.objects.create(username=name, email=name)
    try:
        with transaction.atomic():
            User.objects.create(username="Case")
    except IntegrityError:
        print("Case is case")
    print(User.objects.filter(username__iexact="C\u00c4SE").count())
    # Text that is made of a number has the collation of the connection.
    print(User.objects.filter(username=Cast("id", CharField())).count())
    transaction.set_rollback(True)
"""
SERVERS = pytest.mark.parametrize("site", ["postgres", "mariadb", "mysql"], indirect=True)
OVERRIDE = """
services:
  migrate:
    command: python start.py
"""


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "mysql"], scope="module")
def site(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A built project with a running database server, if it has one, and an empty database."""
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
    """Run several migrate containers at the same time, and return their output; AssertionError if one fails."""
    start = site.path / "start"
    shutil.rmtree(start, ignore_errors=True)
    start.mkdir()
    subprocess.run(["chown", "--reference", str(site.path / "manage.py"), str(start)], check=True)
    said = site.compose("up", "--no-color", "--no-deps", "--scale", f"migrate={TOGETHER}", "migrate")
    ends = site.compose("ps", "--all", "--format", "{{.State}} {{.ExitCode}}", "migrate").splitlines()
    assert ends == ["exited 0"] * TOGETHER, said
    return said


def run(site: Project, code: str, *command: str, **variables: str) -> str:
    """Run `command`, or `code` as a script, in a container of the site; return what it printed."""
    (site.path / "script.py").write_text(code, encoding="utf-8")
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    command = command or ("python", "script.py")
    return site.compose("run", "--rm", "--no-deps", "-T", *options, "migrate", *command)


def test_five_that_start_at_once_all_succeed(site: Project) -> None:
    said = migrate_together(site)
    applied = re.findall(r"Applying (\S+)\.\.\. OK", said)
    assert len(applied) == len(set(applied)) > 10
    assert WAITING in said
    assert said.count("No migrations to apply") == TOGETHER - 1
    assert migrate_together(site).count("No migrations to apply") == TOGETHER


@SERVERS
def test_it_has_succeeded_though_its_lock_was_lost(site: Project) -> None:
    said = run(site, CUT.format(holder=HOLDER[site.database]))
    assert said.splitlines()[-1] == "migrated", said
    assert said.count("WARNING ops.management.commands.migrate: The migration lock was lost") == 1
    assert "Traceback" not in said


@SERVERS
def test_it_keeps_its_lock_however_long_it_takes(site: Project) -> None:
    said = run(site, IDLE.format(strict=STRICT[site.database], slow=SLEEP[site.database]))
    assert said.splitlines()[-1] == "migrated", said
    assert "lost" not in said


@SERVERS
def test_a_second_database_may_be_of_another_kind(site: Project) -> None:
    migrate = ("python", "manage.py", "migrate", "--database", "reports", "sessions")
    assert "Applying sessions.0001_initial... OK" in run(site, SECOND, *migrate, DJANGO_SETTINGS_MODULE="script")


@SERVERS
def test_nothing_waits_for_ever(site: Project) -> None:
    seconds = {"STATEMENT": "2", "LOCK": "1", "IDLE": "6"}
    variables = {f"DATABASE_{name}_TIMEOUT": value for name, value in seconds.items()} | {"MIGRATE_LOCK_TIMEOUT": "1"}
    texts = {name: text[site.database] for name, text in {"endless": ENDLESS, "me": ME, "there": THERE}.items()}
    migrate = ("python", "manage.py", "migrate")
    run(site, "", *migrate)
    said = run(site, LIMITS.format(slow=SLEEP[site.database], **texts), **variables)
    refusals = [line for line in said.splitlines() if line.startswith("refused: ")]
    assert len(refusals) == 4, said
    assert re.search("lock", refusals[1], re.IGNORECASE)
    reason = "The migration cannot lock a table: another transaction has held it for more than 1 seconds"
    assert refusals[-1].startswith(f"refused: {reason}")
    assert said.splitlines()[-1] == "done"


@pytest.mark.parametrize("site", ["mariadb", "mysql"], indirect=True)
def test_text_is_compared_alike(site: Project) -> None:
    """Sensitive to accents and trailing spaces, and insensitive to case, as Django's `iexact` requires."""
    run(site, "", "python", "manage.py", "migrate")
    assert run(site, TEXT).splitlines()[-4:] == ["utf8mb4_0900_as_ci utf8mb4_0900_as_ci", "Case is case", "1", "0"]


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_sqlite_has_one_web_container(site: Project) -> None:
    """The first keeps serving; once it is killed, another one can start."""
    image, first, second = f"{site.slug}-web", f"{site.slug}-first", f"{site.slug}-second"
    options = ["--env", f"SECRET_KEY={KEY}", "--volume", f"{site.slug}_production:/data"]
    try:
        site.docker("run", "--detach", "--name", first, "--publish", "127.0.0.1:0:8000", *options, image)
        site.wait_healthy(first)
        assert site.docker("run", "--rm", *options, image, fails=True) == (
            "Configuration error: another web container uses the database at /data/db.sqlite3. "
            "SQLite allows only one: stop it, or use a database server to scale.\n"
        )
        assert get(f"{site.address(first)}/readyz").status == 200
        # It does not keep another process from migrating.
        site.docker("exec", first, "python", "manage.py", "migrate")
        site.docker("run", "--detach", "--name", second, *options, image)
        site.docker("kill", first)
        site.wait_healthy(second)
    finally:
        site.docker("rm", "--force", first, second)
        site.docker("volume", "rm", "--force", f"{site.slug}_production")
