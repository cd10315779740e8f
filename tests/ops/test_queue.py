"""The Redis settings, the site without Redis, and what others write to Redis."""

import os
import pickle
from pathlib import Path
from ssl import CERT_REQUIRED
from typing import NoReturn
from unittest import mock
from uuid import uuid4

import pytest
from celery import Celery
from django.conf import settings as current
from django.contrib.sessions.backends.cached_db import KEY_PREFIX
from django.core.cache import cache
from django.test import Client
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError
from pytest_django import DjangoCaptureOnCommitCallbacks
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts import exports
from accounts.models import User
from ops import health
from tests.ops.production import PRODUCTION, load, refusal


def lose(*_: object, **__: object) -> NoReturn:
    raise RedisConnectionError("Error 111 connecting to redis.internal")


@pytest.fixture
def url() -> str:
    """The URL of exports, which depends on whether the project has an API."""
    try:
        resolve("/api/v1/exports/")
    except Resolver404:
        return "/exports/"
    return "/api/v1/exports/"


@pytest.mark.parametrize("url", ["nonsense", "http://redis:6379", "redis://:a/b@redis:6379", "redis://redis:6379/3"])
def test_a_url_that_names_no_redis_server_is_refused(url: str) -> None:
    assert refusal(PRODUCTION | {"REDIS_URL": url}).startswith("REDIS_URL cannot be read")


def test_redis_over_tls_is_verified() -> None:
    settings = load(PRODUCTION | {"REDIS_URL": "rediss://:secret@redis:6379"})
    app = Celery()
    app.config_from_object(mock.Mock(spec=[], **settings), namespace="CELERY")
    assert vars(app.backend)["connparams"]["ssl_cert_reqs"] == CERT_REQUIRED
    assert app.connection().ssl == {"ssl_cert_reqs": CERT_REQUIRED}


def test_a_task_must_not_outlive_its_claim() -> None:
    line = refusal(PRODUCTION | {"CELERY_TASK_TIME_LIMIT": "7200"})
    assert line.startswith("CELERY_VISIBILITY_TIMEOUT must be longer")


@pytest.mark.django_db
def test_the_log_of_a_task_shows_no_data(
    client: Client,
    url: str,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    client.force_login(User.objects.create_user("ada", "ada@example.com"))
    with django_capture_on_commit_callbacks(execute=True):
        client.post(url)
    assert "succeeded" in caplog.text
    assert "ada@example.com" not in caplog.text


@pytest.mark.django_db
def test_without_redis_the_answer_is_clear(client: Client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OperationalError

    client.force_login(User.objects.create_user("ada"))
    monkeypatch.setattr(exports, "start_export", refuse)
    monkeypatch.setattr(exports, "get_export", lose)
    for answer in (client.post(url), client.get(f"{url}{uuid4()}/")):
        assert answer.status_code == 503
        assert answer.json() == {"detail": exports.UNAVAILABLE}


@pytest.mark.django_db
def test_without_redis_it_is_ready_and_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "get_redis_connection", lose)
    health.report_redis()
    reason = "Error 111 connecting to redis.internal"
    assert caplog.messages == [f"Redis is unavailable, so tasks are refused and nothing is cached: {reason}"]
    assert client.get("/readyz").status_code == 200


class Code:
    """An object whose pickle creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        """Call os.open."""
        return os.open, (str(self.path), os.O_CREAT)


@pytest.mark.django_db
def test_what_others_write_to_redis_is_data_and_never_code(client: Client, tmp_path: Path) -> None:
    """A planted pickle does not run, also not as a session, and counts as not found."""
    client.force_login(User.objects.create_superuser("ada"))
    session = f"{KEY_PREFIX}{client.cookies[current.SESSION_COOKIE_NAME].value}"
    assert cache.get(session)["_auth_user_id"]
    redis = import_string("django_redis.get_redis_connection")()
    for key in ("page", session):
        assert redis.set(cache.make_key(key), pickle.dumps(Code(tmp_path / "ran")))
        assert key in cache, "the planted key is one of the cache"
    assert cache.get("page", "nothing") == "nothing"
    assert cache.get_many(["page"]) == {}
    assert client.get("/admin/").status_code == 200, "the session comes from the database"
    assert not (tmp_path / "ran").exists()
    value = {"text": "Ærø", "number": 1.5, "list": [1, None, True]}
    cache.set("page", value)
    assert cache.get("page") == value
