"""What the probes log, and when the site is not ready."""

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client

from ops import health


@pytest.mark.django_db
def test_the_log_says_why_the_database_is_not_ready(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused\nby db.internal")

    monkeypatch.setattr(health, "check_database", refuse)
    assert client.get("/readyz").text == "database is not ready\n"
    assert caplog.messages == ["Not ready: database: connection refused by db.internal"]
    assert client.get("/livez").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_not_ready_while_migrations_are_missing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    call_command("migrate", "sessions", "zero", verbosity=0)
    try:
        assert client.get("/readyz").status_code == 503
        assert "migrations are missing (1): run `python manage.py migrate`" in caplog.messages[0]
    finally:
        call_command("migrate", verbosity=0)
    assert client.get("/readyz").status_code == 200
