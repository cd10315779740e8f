"""The Redis settings, the site without Redis, what others write to Redis, and tasks that take their worker down."""

import os
import pickle
import time
from io import StringIO
from pathlib import Path
from ssl import CERT_REQUIRED
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest import mock
from uuid import uuid4

import pytest
from celery import Celery
from celery.worker import WorkController, state
from django.conf import settings as current
from django.contrib.sessions.backends.cached_db import KEY_PREFIX
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts import exports
from accounts.models import User
from accounts.tasks import export_account
from ops import celery, health, queue
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


@pytest.mark.django_db
def test_without_redis_guesses_are_still_counted(client: Client, settings: Settings) -> None:
    nowhere = "redis://127.0.0.1:9/1"
    settings.CACHES = {"default": current.CACHES["default"] | {"LOCATION": nowhere}}
    form = {"username": "ada", "password": "guess"}
    answers = [client.post("/admin/login/", form).status_code for _ in range(current.AXES_FAILURE_LIMIT + 1)]
    assert answers[0] == 200
    assert answers[-1] == 429


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


def comes_back(task_id: str, user_id: int) -> None:
    """Do what a worker does before it runs a task that has been in the queue before."""
    delivery = {"exchange": "", "routing_key": "celery", "redelivered": True}
    export_account.push_request(id=task_id, args=[user_id], kwargs={}, delivery_info=delivery)
    try:
        queue.limit_tries(export_account, task_id)
    finally:
        export_account.pop_request()


def tasks(*options: str) -> list[str]:
    """Return the lines that `manage.py tasks` prints."""
    said = StringIO()
    call_command("tasks", *options, stdout=said)
    return said.getvalue().splitlines()


@pytest.mark.django_db
def test_a_task_that_no_worker_finishes_is_set_aside_and_sent_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue, "redis", import_string("django_redis.get_redis_connection"))  # this test's own database
    ada, task_id = User.objects.create_user("ada"), str(uuid4())
    for _ in range(queue.TRIES - 1):  # besides its first delivery, which is not counted
        comes_back(task_id, ada.pk)
    assert tasks() == ["0 waiting, the oldest for 0 seconds; 0 with workers; 0 set aside"]
    with pytest.raises(queue.SetAsideError, match="5 workers did not finish it"):
        comes_back(task_id, ada.pk)
    heading = "0 waiting, the oldest for 0 seconds; 0 with workers; 1 set aside:"
    assert tasks() == [heading, f"accounts.tasks.export_account[{task_id}]"]
    assert tasks("--resend") == [heading, f"accounts.tasks.export_account[{task_id}] sent again"]
    assert f"[{task_id}] succeeded" in caplog.text
    assert len(tasks()) == 1
    comes_back(task_id, ada.pk)  # it has all its tries again


def test_without_redis_no_task_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "redis", lose)
    comes_back("any", 1)
    with pytest.raises(CommandError, match="Redis is unavailable: Error 111"):
        tasks()


def test_the_pool_forks_before_the_heartbeats_thread_starts() -> None:
    blueprint: Any = WorkController.Blueprint(steps={celery.Heartbeat})
    order = [step.__name__ for step in blueprint._finalize_steps(blueprint.claim_steps())]
    assert order.index("Pool") < order.index("Heartbeat")


def test_the_health_check_tells_what_a_worker_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, memory = tmp_path / "heartbeat", tmp_path / "memory.events"
    monkeypatch.setattr(celery, "HEARTBEAT", file)
    monkeypatch.setattr(celery, "MEMORY", [tmp_path / "none", memory])
    worker = SimpleNamespace(consumer=SimpleNamespace(connection="any"), timer=mock.Mock())
    heartbeat = celery.Heartbeat(worker)
    heartbeat.turned, heartbeat.stuck, heartbeat.killed = time.monotonic(), False, celery.killed()

    def says(text: str) -> bool:
        heartbeat.look(worker)
        return file.read_text(encoding="utf-8").endswith(f" {text}\n")

    assert says("idle")
    monkeypatch.setattr(state, "active_requests", ["a task"])
    assert says("runs 1 task")
    worker.consumer.connection = None
    assert says("waits for Redis")
    assert caplog.messages == []
    memory.write_text("low 0\noom 1\noom_kill 1\noom_group_kill 0\n", encoding="utf-8")
    assert says("waits for Redis")
    worker.consumer.connection = "any"
    heartbeat.turned -= celery.STUCK + 1
    for _ in range(2):
        assert says("waits for Redis"), "the file is not written"
    assert [message.partition(":")[0] for message in caplog.messages] == ["Out of memory", "The worker hangs"]
