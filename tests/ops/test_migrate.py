"""Containers that start together run one migrate at a time."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from ops.management.commands import migrate

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _database_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pretend that SQLite's in-memory database, which needs no lock, is a file."""
    if connection.vendor == "sqlite":
        monkeypatch.setitem(connection.settings_dict, "NAME", tmp_path / "db.sqlite3")


@pytest.fixture
def other() -> Iterator[ExitStack]:
    """Another running migrate, until it is closed."""
    with ExitStack() as stack:
        stack.enter_context(migrate.lock(connection))
        yield stack


def test_it_waits_for_another_one(
    other: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: other.close())
    call_command("migrate", verbosity=0)
    assert caplog.messages == ["Another migrate is running on this database: waiting for it"]


def test_it_does_not_wait_for_ever(other: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", 0)
    with pytest.raises(CommandError, match="has not finished"):
        call_command("migrate", verbosity=0)


@pytest.mark.parametrize("option", ["--plan", "--check"])
def test_a_look_need_not_wait(other: ExitStack, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", 0)
    call_command("migrate", option, verbosity=0)


def test_one_that_fails_releases_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", 5)
    with pytest.raises(CommandError, match="nonsense"):
        call_command("migrate", "nonsense", verbosity=0)
    call_command("migrate", verbosity=0)
