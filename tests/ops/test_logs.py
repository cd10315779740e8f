"""Logs: one line per record, one record per request, and no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from ops import logs

pytestmark = pytest.mark.django_db


class Log(io.StringIO):
    """The log, in production's format."""

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    stream = Log()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JSONFormatter())
    logging.root.addHandler(handler)
    yield stream
    logging.root.removeHandler(handler)


def test_a_request_is_one_record(client: Client, log: Log) -> None:
    ada = User.objects.create_user("ada")
    client.force_login(ada)
    answer = client.get("/?token=hunter2", headers={"x-request-id": "trace-1.a_B"})
    (record,) = log.records()
    assert record.pop("time").endswith("+00:00")
    assert 0 < record.pop("duration_ms") < 10_000
    assert record.pop("message").startswith("GET / 200 in ")
    assert record == {
        "level": "INFO",
        "logger": "config.access",
        "request_id": "trace-1.a_B",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/",
        "status": 200,
        "user_id": ada.pk,
    }
    assert answer["X-Request-ID"] == "trace-1.a_B"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "a\nb"])
def test_an_id_that_is_not_sane_is_replaced(client: Client, log: Log, sent: str) -> None:
    answer = client.get("/", headers={"x-request-id": sent})
    assert len(answer["X-Request-ID"]) == 32
    assert log.records()[0]["request_id"] == answer["X-Request-ID"]
    assert log.records()[0]["user_id"] is None


def test_all_that_a_request_logs_bears_its_id(client: Client, log: Log) -> None:
    answer = client.get("/nowhere?token=hunter2")
    assert [(each["logger"], each["request_id"]) for each in log.records()] == [
        ("config.access", answer["X-Request-ID"]),
        ("django.request", answer["X-Request-ID"]),
    ]
    assert "hunter2" not in log.getvalue()


def test_probes_are_not_logged(client: Client, log: Log) -> None:
    client.get("/livez")
    client.get("/readyz")
    assert log.records() == []


def test_an_exception_is_one_line(client: Client, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError("broken")

    client.raise_request_exception = False
    client.force_login(User.objects.create_superuser("ada"))
    monkeypatch.setattr(User, "get_username", fail)
    assert client.get("/admin/").status_code == 500
    error = next(each for each in log.records() if each["level"] == "ERROR")
    assert error["exception"].startswith("Traceback")
    assert error["exception"].endswith("ValueError: broken")


@pytest.mark.parametrize("formatter", [logs.JSONFormatter(), logs.TextFormatter()])
def test_words_are_kept(formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SECRETS", set())
    logs.register_secret("service://app:development@host/name")
    record = logging.LogRecord("name", logging.INFO, "", 0, "development at service://eve:development@host", (), None)
    line = formatter.format(record)
    assert "development at" in line
    assert ":development@" not in line


@pytest.mark.parametrize("formatter", [logs.JSONFormatter(), logs.TextFormatter()])
def test_secrets_are_kept_out(formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SECRETS", set())
    logs.register_secret("service://app:it%22s%20hidden@host/name")
    logs.register_secret(settings.SECRET_KEY)
    for secret in (
        "service://app:it%22s%20hidden@host/name",
        "it%22s%20hidden",
        'it"s hidden',
        settings.SECRET_KEY,
        "password=hunter2",
        "api_token=hunter2&more=1",
        "{'client_secret': 'hunter2'}",
        '{"password": "hunter2"}',
        "Authorization: Bearer hunter2",
        "Authorization: hunter2",
        "{'Authorization': 'Basic hunter2'}",
    ):
        record = logging.LogRecord("name", logging.INFO, "", 0, "before %s", (secret,), None)
        line = formatter.format(record)
        assert "***" in line
        for part in ("hidden", "hunter2", settings.SECRET_KEY):
            assert part not in line
        if isinstance(formatter, logs.JSONFormatter):
            assert json.loads(line)["message"].startswith("before ")
