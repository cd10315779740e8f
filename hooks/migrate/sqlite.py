"""The `migrate` command under a lock: containers that start together can all run it."""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.creation import DatabaseCreation

LOCK_TIMEOUT = 600.0  # seconds

logger = logging.getLogger(__name__)


{% include 'hooks/migrate/wait.py' %}


@contextmanager
def lock(database: BaseDatabaseWrapper) -> Iterator[None]:
    """Hold the lock for `database`; CommandError if another migrate holds it for too long.

    The lock is on an open file, and is released at the end of the block or of the process.
    """
    name = database.settings_dict["NAME"]
    if DatabaseCreation.is_in_memory_db(name):
        yield
        return
    # Not the database file itself: closing it would drop SQLite's own locks on it.
    try:
        file = os.open(f"{name}.migrate", os.O_CREAT | os.O_RDONLY, 0o644)
    except OSError as error:
        raise CommandError(
            f"The migration lock cannot be created ({error}). User {os.getuid()} needs write access to its folder."
        ) from None

    def acquire() -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        wait_until(acquire)
        yield
    finally:
        os.close(file)


class Command(migrate.Command):
    """Django's own command, under a lock."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate once no other migrate is running on the database. Read-only options do not wait."""
        database, default = connections[options["database"]], connections[DEFAULT_DB_ALIAS]
        # The previous version may still use the file: the journal mode changes when the web container starts.
        if os.path.exists(default.settings_dict["NAME"]):
            default.settings_dict["OPTIONS"].pop("init_command", None)
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        # A second database of another kind may have no such lock: use the default database's lock instead.
        with lock(database if database.vendor == default.vendor else default):
            super().handle(*args, **options)
