"""What a site's role in PostgreSQL can do."""

from __future__ import annotations

import pytest

from tests.support.production import Production
from tests.support.project import CommandError

QUERY = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute({!r})
    print(cursor.description and cursor.fetchall())
"""
ROLE = "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles WHERE rolname = current_user"


def owns_its_database_alone(site: Production, *superusers: str) -> None:
    """Assert that the application can work with its tables, and can do nothing as the server's user."""
    assert site.python(QUERY.format(ROLE)).strip() == "[(False, False, False, False)]"
    site.python(QUERY.format("CREATE TABLE probe (id int); ALTER TABLE accounts_user ADD probe int"))
    site.python(QUERY.format("DROP TABLE probe; ALTER TABLE accounts_user DROP probe"))
    for refused in (
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
        "ALTER ROLE app SUPERUSER",
        *(f"SET ROLE {role}" for role in superusers),
    ):
        with pytest.raises(CommandError, match="permission denied"):
            site.python(QUERY.format(refused))
    # The superusers cannot log in from other containers.
    for role in superusers:
        with pytest.raises(CommandError, match=r"authentication failed|not permitted to log in"):
            site.python(
                "import psycopg; from django.conf import settings; d = settings.DATABASES['default']\n"
                f"psycopg.connect(host=d['HOST'], dbname='app', user={role!r}, password=d['PASSWORD'])"
            )
