"""A real worker, with the real queue."""

import gc
from uuid import uuid4

import pytest
from celery.contrib.testing.worker import start_worker

from accounts.models import User
from accounts.tasks import export_account
from config import celery_app
from ops.logs import request_id

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # The worker's thread leaves connections to the garbage collector: to Redis when it ends while one is in use, and to
    # an in-memory SQLite database, which Django never closes.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


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
        assert sent.get(timeout=300)["username"] == "ada"
        request_id.set("a-request")
        assert whose.apply_async(queue=queue).get(timeout=300) == "a-request"
    gc.collect()
