"""The `migrate` command under a lock: containers that start together can all run it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

LOCK_TIMEOUT = 600.0  # seconds
KEEPALIVE_INTERVAL = 10.0  # seconds
{% if uses_mysqlclient %}
ATTEMPTS = 10
{% endif %}

logger = logging.getLogger(__name__)


{% include 'hooks/migrate/wait.py' %}


def unusable(error: OperationalError) -> CommandError:
    """Return the error, on one line, for a server that cannot be reached or does not let us in."""
    return CommandError(f"The database cannot be used: {' '.join(str(error).split())}")


@contextmanager
def lock(database: BaseDatabaseWrapper) -> Iterator[None]:
    """Hold the lock for `database`; CommandError if another migrate holds it for too long.

    The lock is released at the end of the block. If the process dies, the server ends its session and releases it.
    """
{% if database == 'postgres' %}
    # A separate session outside the pool, which would keep the session open and the lock held.
    session = database.copy()
    session.settings_dict["OPTIONS"].pop("pool", None)
{% else %}
    session = database.copy()
{% endif %}
    done = threading.Event()

    def acquire() -> bool:
        with session.cursor() as cursor:
{% if database == 'postgres' %}
            # Waiting in pg_advisory_lock() can deadlock: CREATE INDEX CONCURRENTLY in the other migrate waits for
            # older statements, including this one. The number is arbitrary, but must never change.
            cursor.execute("SELECT pg_try_advisory_lock(20061114)")
{% else %}
            # The whole server shares lock names, and limits them to 64 characters: hash the name of the database.
            # MySQL 9.6 removed SHA1(); a SHA-224 digest leaves room for the prefix.
            cursor.execute("SELECT GET_LOCK(CONCAT('migrate ', SHA2(DATABASE(), 224)), 0)")
{% endif %}
            return bool(cursor.fetchone()[0])

    def keep_alive() -> None:
        try:
            # Servers, proxies and NAT gateways close a session that is idle for too long.
            while not done.wait(KEEPALIVE_INTERVAL):
                with session.cursor() as cursor:
                    cursor.execute("SELECT 1")
            # Release the lock explicitly: a server can be slow to notice the end of a session.
            with session.cursor() as cursor:
{% if database == 'postgres' %}
                cursor.execute("SELECT pg_advisory_unlock_all()")
{% else %}
                cursor.execute("SELECT RELEASE_ALL_LOCKS()")
{% endif %}
        except Error as error:
            # Only a warning: what has been migrated stays migrated.
            logger.warning("The migration lock was lost too early: %s", " ".join(str(error).split()))

    with closing(session):
        try:
            wait_until(acquire)
        except OperationalError as error:
            raise unusable(error) from None
        session.inc_thread_sharing()
        keeper = threading.Thread(target=keep_alive, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()


def is_lock_timeout(error: OperationalError) -> bool:
    """Return whether the server aborted a wait for a lock."""
{% if database == 'postgres' %}
    return getattr(error.__cause__, "sqlstate", None) == "55P03"
{% else %}
    return error.args[:1] == (1205,)


def retry(execute: Callable[..., Any], *statement: Any) -> Any:
    """Run a statement, and retry after lock timeouts: DDL is not transactional, so an error leaves half a migration."""
    for _ in range(ATTEMPTS - 1):
        try:
            return execute(*statement)
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
        time.sleep(1)  # let the queries that wait behind it run
    return execute(*statement)
{% endif %}


class Command(migrate.Command):
    """Django's own command, under a lock."""

    def check(self, *args: Any, **options: Any) -> None:
        """Run Django's checks, some of which ask the server."""
        try:
            super().check(*args, **options)
        except OperationalError as error:
            raise unusable(error) from None

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate once no other migrate is running on the database. Read-only options do not wait."""
        database, default = connections[options["database"]], connections[DEFAULT_DB_ALIAS]
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        # A second database of another kind may have no such lock: use the default database's lock instead.
        with lock(database if database.vendor == default.vendor else default):
            if database.vendor == default.vendor:
                with database.cursor() as cursor:
                    for name, value in settings.MIGRATE_LIMITS.items():
                        cursor.execute(f"SET SESSION {name} = {value}")
            try:
{% if uses_mysqlclient %}
                with database.execute_wrapper(retry):
                    super().handle(*args, **options)
{% else %}
                super().handle(*args, **options)
{% endif %}
            except OperationalError as error:
                if not is_lock_timeout(error):
                    raise
                raise CommandError(
                    "The migration cannot lock a table: another transaction has held it for more than "
                    f"{settings.MIGRATE_LOCK_TIMEOUT} seconds, and other queries would queue behind the migration. "
                    "End that transaction or wait for it, and try again. MIGRATE_LOCK_TIMEOUT=60 waits longer."
                ) from error
