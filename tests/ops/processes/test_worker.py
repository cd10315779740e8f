"""A real worker, with the real queue."""

import gc
from uuid import uuid4

import pytest
from celery.contrib.testing.worker import start_worker
from django.db import connection

from accounts.models import User
from accounts.tasks import export_account
from config import celery_app
from ops.logs import request_id

pytestmark = [pytest.mark.django_db(transaction=True)]
if connection.vendor == "sqlite":
    # Django never closes an in-memory database: the worker's thread leaves its connection to the garbage collector.
    pytestmark.append(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@celery_app.task(name="whose")
def whose() -> str | None:
    """Return the id of the request that sent this task."""
    return request_id.get()


def test_a_real_worker_makes_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = User.objects.create_user("ada", "ada@example.com", "correct horse")
    monkeypatch.setitem(celery_app.conf, "task_always_eager", False)
    queue = f"test-{uuid4()}"
    with start_worker(celery_app, queues=[queue], perform_ping_check=False):
        sent = export_account.apply_async((ada.pk,), queue=queue)
        assert sent.get(timeout=10)["username"] == "ada"
        request_id.set("a-request")
        assert whose.apply_async(queue=queue).get(timeout=10) == "a-request"
    gc.collect()
