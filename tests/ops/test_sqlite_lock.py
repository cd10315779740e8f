"""The lock that allows one web container, and the choice of a journal mode."""

import os
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from ops import sqlite_lock


def test_a_second_web_container_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sqlite_lock, "LOCK_TIMEOUT", 0)
    database = str(tmp_path / "db.sqlite3")
    first = sqlite_lock.acquire(database)
    try:
        assert os.get_inheritable(first), "the server process would not inherit the lock"
        with pytest.raises(ImproperlyConfigured, match="another web container uses the database"):
            sqlite_lock.acquire(database)
    finally:
        os.close(first)
    os.close(sqlite_lock.acquire(database))


def test_wal_is_not_used_where_it_can_lose_data() -> None:
    safe = {(3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 53, 0), (4, 0)}
    unsafe = {(3, 44, 5), (3, 46, 1), (3, 50, 6), (3, 51, 2)}
    assert {sqlite_lock.journal_mode(version) for version in safe} == {"WAL"}
    assert {sqlite_lock.journal_mode(version) for version in unsafe} == {"DELETE"}
