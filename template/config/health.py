"""Probes: `/livez` says that the process answers, `/readyz` that it can serve.

They are a middleware, ahead of all others, so that a probe needs neither an allowed host nor HTTPS.
"""

import logging
from collections.abc import Callable
from functools import cache

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)


class NotMigratedError(Exception):
    """The database answers, but lacks migrations that this code needs."""


@cache
def check_migrations() -> None:
    """Raise NotMigratedError while migrations are missing; once they are there, ask no more."""
    executor = MigrationExecutor(connection)
    if missing := len(executor.migration_plan(executor.loader.graph.leaf_nodes())):
        raise NotMigratedError(f"{missing} migrations are missing: run `python manage.py migrate`")


def problem() -> str | None:
    """Say in one line why this site cannot serve, or return None when it can."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        check_migrations()
    except NotMigratedError as error:
        return f"database: {error}"
    except DatabaseError as error:
        return f"database: {' '.join(str(error).split()) or type(error).__name__}"
    return None


def health(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer the probes, and pass every other request on."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/livez":
            return HttpResponse("ok\n", content_type="text/plain")
        if request.path == "/readyz":
            if trouble := problem():
                # The reason names hosts and users: it is for the log, not for whoever asks.
                logger.error("Not ready: %s", trouble)
                return HttpResponse("database is not ready\n", content_type="text/plain", status=503)
            return HttpResponse("ok\n", content_type="text/plain")
        return get_response(request)

    return middleware
