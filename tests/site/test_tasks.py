"""Background tasks on real containers: workers are killed, Redis goes down, and no task is lost."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.project import PATIENCE, Project, add_app, add_telemetry, clean_up, get, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=290,
    touched_by=[
        "*celery*",
        "*tasks.py*",
        "template/ops/queue.py",
    ],
)

TASKS = 1000
# An app as a team would write it: each effect has a key, and happens once however often its task runs.
APP = {
    "__init__.py": "",
    "migrations/__init__.py": "",
    "models.py": """
from django.db import models


class Entry(models.Model):
    key = models.CharField(max_length=40, unique=True)
    runs = models.IntegerField(default=0)
""",
    "tasks.py": """
import os
import time

from celery import shared_task
from django.db.models import F

from ledger.models import Entry


@shared_task
def enter(key, seconds=0.0):
    entry, first = Entry.objects.get_or_create(key=key)
    Entry.objects.filter(key=key).update(runs=F("runs") + 1)
    if first:
        time.sleep(seconds)
    return key


@shared_task
def die(key):
    enter(key)
    os.kill(os.getpid(), 9)


@shared_task
def swell(key):
    enter(key)
    if Entry.objects.get(key=key).runs == 1:
        b"x" * 2_000_000_000
""",
}
# Sends all tasks, and retries while the queue is down.
SEND = f"""
import time
from kombu.exceptions import OperationalError
from ledger.tasks import enter
for number in range({TASKS}):
    while True:
        try:
            enter.delay(f"many-{{number}}", 0.03)
            break
        except OperationalError:
            time.sleep(0.2)
    time.sleep(0.01)
"""
# Receives traces, and prints the names of their tasks.
COLLECTOR = """
import re
from http.server import BaseHTTPRequestHandler, HTTPServer



class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(self.path, re.findall(rb"run/[a-z.]+", body), flush=True)
        self.send_response(200)
        self.end_headers()


HTTPServer(("", 4318), Collector).serve_forever()
"""
# As in production, the worker itself is PID 1. Timeouts are short, to keep the tests short; only the delay of traces is
# long, so that nothing sends them before the worker stops.
OVERRIDE = """
services:
  worker:
    command: celery --quiet --app config worker
    init: false
    mem_limit: 500M
    memswap_limit: 500M
    environment:
      <<: &times
        CELERY_TASK_TIME_LIMIT: "18"
        CELERY_VISIBILITY_TIMEOUT: "20"
        CELERY_DRAIN_SECONDS: "8"
      OTEL_EXPORTER_OTLP_ENDPOINT: http://collector:4318
      OTEL_BSP_SCHEDULE_DELAY: "3600000"
      METRICS_PORT: "9100"
  beat:
    command: celery --quiet --app config beat
    init: false
    environment:
      METRICS_PORT: "9100"
  web:
    environment: *times
  collector:
    image: slipway-tasks-web
    command: python collector.py
    volumes:
      - .:/app
    healthcheck:
      test: "true"
"""


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """A running project with Celery and an app of its own."""
    answers = matrix.pick(use_celery=True, database="postgres").answers
    project = make_project(copie_session, engine, Combination("slipway-tasks", answers))
    add_app(project, APP)
    add_telemetry(project)
    (project.path / "override.yaml").write_text(OVERRIDE, encoding="utf-8")
    (project.path / "collector.py").write_text(COLLECTOR, encoding="utf-8")
    project.environment |= {"COMPOSE_FILE": "compose.yaml:override.yaml"}
    project.run(
        "docker", "compose", "run", "--rm", "--no-deps", "--build", "web", "python", "manage.py", "makemigrations"
    )
    project.compose("up", "--detach", "--wait")
    yield project
    clean_up(project)


def shell(site: Project, code: str) -> str:
    """Run Python in the web container with Django loaded, and return what it prints."""
    return site.compose("exec", "-T", "web", "python", "manage.py", "shell", "--no-imports", "-c", code).strip()


def send(site: Project, key: str, seconds: float = 0) -> None:
    """Send the task `enter`."""
    shell(site, f"from ledger.tasks import enter; enter.delay({key!r}, {seconds})")


def runs(site: Project, pattern: str) -> dict[str, int]:
    """Return how often each task ran whose key starts with `pattern`: key -> runs."""
    code = "import json; from ledger.models import Entry; print(json.dumps(dict(Entry.objects"
    found: dict[str, int] = json.loads(
        shell(site, f"{code}.filter(key__startswith={pattern!r}).values_list('key', 'runs'))))")
    )
    return found


def state(site: Project, service: str) -> dict[str, Any]:
    """Return the state of a service's container."""
    found: dict[str, Any] = site.inspect(site.container(service))["State"]
    return found


def last_check(site: Project, service: str) -> datetime:
    """Return when the last health check of a service's container began."""
    return datetime.fromisoformat(state(site, service)["Health"]["Log"][-1]["Start"])


def metric(site: Project, service: str, name: str) -> float:
    """Return the value of a metric of a service's container; -1 if there is none."""
    code = f"import urllib.request as r; print(r.urlopen('http://{service}:9100/metrics').read().decode())"
    text = site.compose("exec", "-T", "web", "python", "-c", code)
    found = re.search(rf"(?m)^{re.escape(name)} (.+)$", text)
    return float(found[1]) if found else -1


def says(site: Project, service: str) -> str:
    """Return the last line of a health check of a service's container, without the time."""
    log = state(site, service)["Health"]["Log"]
    return str(log[-1]["Output"].strip().partition(" ")[2]) if log else ""


def test_redis_is_set_up_as_a_queue(site: Project) -> None:
    def ask(*words: str, **options: bool) -> str:
        return site.compose("exec", "-T", "redis", "valkey-cli", *words, **options)

    for name, value in {"maxmemory-policy": "noeviction", "appendonly": "yes"}.items():
        assert ask("config", "get", name).split() == [name, value]
    refused = site.compose("exec", "-T", "--env", "REDISCLI_AUTH=", "redis", "valkey-cli", "-e", "ping", fails=True)
    assert "NOAUTH" in refused
    assert not site.inspect(site.container("redis"))["HostConfig"]["PortBindings"]


def test_web_worker_and_beat_are_one_image(site: Project) -> None:
    assert len({site.inspect(site.container(name))["Image"] for name in ("web", "worker", "beat")}) == 1


def test_a_stopped_worker_finishes_its_task(site: Project) -> None:
    send(site, "stop", 5)
    until(lambda: runs(site, "stop"))
    site.compose("stop", "worker")
    assert state(site, "worker")["ExitCode"] == 0
    log = site.compose("logs", "--no-color", "worker")
    assert re.search(r"ledger\.tasks\.enter\[\S+\] succeeded in 5\.", log)
    assert "/v1/traces [b'run/ledger.tasks.enter']" in site.compose("logs", "--no-color", "collector")
    site.compose("up", "--detach", "--wait", "worker")
    assert runs(site, "stop") == {"stop": 1}


def test_what_it_cannot_finish_goes_back(site: Project) -> None:
    until(lambda: says(site, "worker") == "idle")
    send(site, "long", 60)
    until(lambda: runs(site, "long"))
    until(lambda: "runs 1 task" in site.compose("exec", "-T", "worker", "cat", "/tmp/heartbeat"))
    start = time.monotonic()
    site.compose("stop", "worker")
    assert 7 < time.monotonic() - start < 45, "it did not drain for 8 seconds, or was killed"
    assert int(site.compose("exec", "-T", "redis", "valkey-cli", "llen", "celery")) == 1
    site.compose("up", "--detach", "--wait", "worker")
    until(lambda: runs(site, "long") == {"long": 2})


def test_a_frozen_worker_turns_unhealthy(site: Project) -> None:
    def turn(health: str) -> bool:
        return all(state(site, service)["Health"]["Status"] == health for service in ("worker", "beat"))

    site.compose("kill", "--signal", "STOP", "worker", "beat")
    until(lambda: turn("unhealthy"))
    site.compose("kill", "--signal", "CONT", "worker", "beat")
    until(lambda: turn("healthy"))


def test_without_redis_pages_answer_and_tasks_are_refused(site: Project) -> None:
    address = site.address(site.container("web"))
    ada = site.sign_in("ada")
    started = {name: state(site, name)["StartedAt"] for name in ("web", "worker", "beat")}
    site.compose("stop", "redis")
    away = datetime.now(UTC)
    for path in ("/", "/livez", "/admin/login/", "/api/v1/users/me/"):
        assert get(address + path, ada).status == 200, path
    assert get(f"{address}/readyz").text == "ok\n"
    for _ in range(3):
        start = time.monotonic()
        refused = get(f"{address}/api/v1/exports/", ada, method="POST")
        assert time.monotonic() - start < 15
        assert refused.status == 503
        assert "not available right now" in refused.text
    # This check rejects an old heartbeat: a worker that waits for Redis must stay healthy.
    until(lambda: last_check(site, "worker") > away + timedelta(seconds=30))
    assert state(site, "worker")["Health"]["Status"] == "healthy"
    assert says(site, "worker") == "waits for Redis"
    assert metric(site, "beat", "redis_up") == 0
    site.compose("start", "redis")
    until(lambda: state(site, "redis")["Health"]["Status"] == "healthy")
    send(site, "back")
    until(lambda: runs(site, "back"))
    assert {name: state(site, name)["StartedAt"] for name in started} == started


def test_a_flushed_cache_loses_no_task(site: Project) -> None:
    site.compose("stop", "worker")
    send(site, "flush")
    shell(site, "from django.core.cache import cache; cache.clear()")
    site.compose("up", "--detach", "--wait", "worker")
    until(lambda: runs(site, "flush"))


def test_a_poison_task_is_set_aside_and_the_others_run(site: Project, capsys: pytest.CaptureFixture[str]) -> None:
    def tasks(*options: str) -> list[str]:
        return site.compose("exec", "-T", "web", "python", "manage.py", "tasks", *options).strip().splitlines()

    sent = shell(site, "from ledger.tasks import die; print(die.delay('poison').id)")
    send(site, "after")
    until(lambda: runs(site, "after"))
    until(lambda: len(tasks()) == 2, every=2)
    counted = runs(site, "poison")
    with capsys.disabled():
        print(f"\na task that kills its process: {counted['poison']} runs, then it is set aside")
    assert counted == {"poison": 5}
    assert tasks()[1] == f"ledger.tasks.die[{sent}]"
    assert metric(site, "beat", "queue_set_aside") == 1
    assert metric(site, "beat", "redis_up") == 1
    assert metric(site, "worker", 'tasks_total{state="FAILURE",task="ledger.tasks.die"}') == 1
    assert metric(site, "worker", 'tasks_total{state="SUCCESS",task="ledger.tasks.enter"}') >= 1
    assert shell(site, f"from config import celery_app; print(celery_app.AsyncResult({sent!r}).state)") == "FAILURE"
    assert "SetAsideError" in site.compose("logs", "worker")
    assert tasks("--resend")[1] == f"ledger.tasks.die[{sent}] sent again"
    until(lambda: runs(site, "poison") == {"poison": 10} and len(tasks()) == 2, every=2)


def test_a_task_that_runs_out_of_memory_is_told_apart(site: Project) -> None:
    shell(site, "from ledger.tasks import swell; swell.delay('swollen')")
    until(lambda: runs(site, "swollen") == {"swollen": 2})
    until(lambda: "Out of memory" in site.compose("logs", "worker"))
    assert state(site, "worker")["Health"]["Status"] == "healthy"


def test_beat_runs_once_and_its_schedule_survives(site: Project) -> None:
    second = site.run("docker", "compose", "run", "--rm", "--no-deps", "beat", fails=True)
    assert "Another beat is using the schedule. Run only one." in second.splitlines()
    schedule = "shelve.open('/data/celerybeat-schedule', 'w')['entries']['clear-sessions']"

    def last_run() -> str:
        return site.compose("exec", "-T", "beat", "python", "-c", f"import shelve; print({schedule}.last_run_at)")

    before = last_run()
    site.compose("kill", "beat")
    site.compose("up", "--detach", "--wait", "beat")
    assert last_run() == before


def test_no_task_is_lost_when_workers_are_killed_and_redis_restarts(
    site: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    def reached(count: int) -> bool:
        return len(runs(site, "many-")) >= count

    command = ["docker", "compose", "exec", "-T", "web", "python", "manage.py", "shell", "--no-imports", "-c", SEND]
    sender = subprocess.Popen(command, cwd=site.path, env=site.engine.env | site.environment)
    try:
        for round_ in range(3):
            until(partial(reached, len(runs(site, "many-")) + 50))
            site.compose("kill", "--signal", "KILL", "worker")
            if round_ == 1:
                site.compose("restart", "redis")
            site.compose("up", "--detach", "--no-deps", "worker")
        assert sender.wait(PATIENCE) == 0
    finally:
        sender.kill()
    # Tasks that a killed worker held come back after the visibility timeout.
    until(lambda: sum(1 for count in runs(site, "many-").values() if count) == TASKS)
    counted = runs(site, "many-")
    with capsys.disabled():
        print(
            f"\n{TASKS} tasks, 3 workers killed, Redis restarted: {len(counted)} effects, {sum(counted.values())} runs"
        )
    assert set(counted) == {f"many-{number}" for number in range(TASKS)}
