"""The probes."""

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from ops import health


def test_live_needs_no_database(client: Client) -> None:
    assert client.get("/livez").text == "ok\n"


@pytest.mark.django_db
def test_ready_when_the_database_answers(client: Client) -> None:
    assert client.get("/readyz").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_come_with_any_host_and_without_https(client: Client, settings: Settings, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["example.com"]
    assert client.get(path, headers={"host": "10.1.2.3:8000"}).status_code == 200
    assert client.get("/", headers={"host": "10.1.2.3:8000"}).status_code == 400


@pytest.mark.django_db
def test_not_ready_while_the_database_is_away(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused\nby db.internal")

    monkeypatch.setattr(health, "check_database", refuse)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "internal" not in answer.text
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
