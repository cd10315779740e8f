"""Pages that belong to no app."""

import platform

import django
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from config.health import problem


def database() -> str:
    """Name the database and its release, as the server itself tells it."""
    try:
        release = connection.get_database_version()
    except DatabaseError:
        return f"{connection.display_name}, not reachable"
    return f"{connection.display_name} {'.'.join(map(str, release))}"


def home(request: HttpRequest) -> HttpResponse:
    """Welcome the visitor; in development, also tell what runs here and where to go next."""
    context: dict[str, object] = {"site_name": settings.SITE_NAME}
    if settings.DEBUG:
        context |= {
            "problem": problem(),
            "stack": {
                "Django": django.get_version(),
                "Python": platform.python_version(),
                "Database": database(),
            },
        }
    return render(request, "home.html", context)
