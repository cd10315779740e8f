"""SQLite: allow one web container at a time, and choose a journal mode that is safe with the library's version."""

import fcntl
import gc
import logging
import os
import sqlite3
import time

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from ops.errors import ConfigurationError

LOCK_TIMEOUT = 5.0  # seconds: a container that is being replaced takes time to stop
JOURNAL_TIMEOUT = 60.0  # seconds: a process that completes its work can take longer

logger = logging.getLogger(__name__)


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    """Return the journal mode for a version of SQLite: WAL, where readers do not wait for a writer, or DELETE.

    Before 3.51.3, 3.50.7 and 3.44.6, WAL can lose committed data: https://sqlite.org/wal.html#walresetbug
    """
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return "WAL" if fixed else "DELETE"


def acquire(database: str) -> int:
    """Lock `database` for this web container, and return the open file that holds the lock."""
    try:
        file = os.open(f"{database}.web", os.O_CREAT | os.O_RDONLY, 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"the database cannot be used ({error}). The volume at /data must be writable for user {os.getuid()}."
        ) from None
    os.set_inheritable(file, True)  # otherwise exec would close it and release the lock
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"another web container uses the database at {database}. "
                    "SQLite allows only one: stop it, or use a database server to scale."
                ) from None
            time.sleep(0.2)
        else:
            return file


def connect(database: BaseDatabaseWrapper) -> None:
    """Connect to `database`, which sets its journal mode, and log that mode.

    ConfigurationError if another process has the file open in another mode for too long.
    """
    deadline = time.monotonic() + JOURNAL_TIMEOUT
    while True:
        gc.collect()  # closes a connection that has failed: until then, this process has the file open itself
        try:
            with database.cursor() as cursor:
                cursor.execute("PRAGMA journal_mode")
                [mode] = cursor.fetchone()
        except OperationalError as error:
            if "locked" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"the database's journal mode must become {journal_mode()}, but another process has the file open. "
                    "Stop all containers that use it, then start them again."
                ) from None
            time.sleep(0.2)
        else:
            safety = "safe" if journal_mode() == "WAL" else "not safe"
            logger.info("SQLite %s: WAL is %s, the journal mode is %s", sqlite3.sqlite_version, safety, mode)
            return
