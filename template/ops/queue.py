"""The queue: what waits in it, and the tasks that are set aside because they take their worker down each time."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from celery import Signature, Task, current_app
from celery.signals import before_task_publish, task_prerun
from kombu.utils.json import dumps, loads
from redis import Redis
from redis.exceptions import RedisError

from ops.logs import request_id

TRIES = 5  # of a task whose worker dies, is killed or is stopped
ASIDE = "set-aside"  # a list in Redis
COUNTED = 7 * 24 * 3600  # seconds for which the tries of a task are remembered


class SetAsideError(Exception):
    """The task was started several times, and no worker finished it."""


def redis() -> Redis:
    """Return the client of the queue's database."""
    client: Redis = current_app.backend.client  # type: ignore[attr-defined]
    return client


def limit_tries(task: Task[..., Any], task_id: str, *_: object) -> None:
    """Set a task aside, with SetAsideError, if it has had TRIES. Celery calls this before each task.

    Only a task that comes back to the queue is counted, because its worker died, ran out of memory or was stopped.
    """
    if not (task.request.delivery_info or {}).get("redelivered"):
        return
    with suppress(RedisError):
        key = f"tries-{task_id}"
        tries = redis().incr(key)
        redis().expire(key, COUNTED)
        if tries < TRIES:
            return
        redis().rpush(ASIDE, dumps(task.signature_from_request()))
        redis().delete(key)
        raise SetAsideError(
            f"{TRIES} workers did not finish it: it is set aside. `python manage.py tasks` lists it and sends it again."
        )


Task.before_start = limit_tries  # type: ignore[method-assign,assignment]


def set_aside() -> list[Signature[Any]]:
    """Return the tasks that are set aside, the first one first."""
    return [current_app.signature(loads(each)) for each in redis().lrange(ASIDE, 0, -1)]


def resend() -> Iterator[Signature[Any]]:
    """Send the tasks again that are set aside; return each when it is in the queue."""
    for _ in range(redis().llen(ASIDE)):
        if first := redis().lindex(ASIDE, 0):
            task = current_app.signature(loads(first))
            task.apply_async()
            redis().lrem(ASIDE, 1, first)  # type: ignore[arg-type]
            yield task


def figures() -> dict[str, float]:
    """Return how many tasks wait, run and are set aside, and how many seconds the oldest has waited."""
    queue = current_app.conf.task_default_queue
    last = redis().lindex(queue, -1)
    sent = loads(last)["headers"].get("sent") if last else None
    return {
        "waiting": redis().llen(queue),
        "oldest_seconds": max(0.0, time.time() - sent) if sent else 0.0,
        "started": redis().hlen("unacked"),
        "set_aside": redis().llen(ASIDE),
    }


@before_task_publish.connect
def label(headers: dict[str, Any], **_: Any) -> None:
    """Send the time, and the id of the request, with each task."""
    headers.update(sent=time.time(), request_id=request_id.get())


@task_prerun.connect
def take_request_id(task: Task[..., Any], **_: Any) -> None:
    """Log what a task does with the id of the request that sent it."""
    request_id.set(getattr(task.request, "request_id", None))
