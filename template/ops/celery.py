"""Run Celery's worker and beat in containers: heartbeat, results, schedule, signals. The queue is in ops/queue.py."""

import fcntl
import gc
import logging
import os
import signal
import threading
import time
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.app import trace
from celery.backends.redis import RedisBackend
from celery.beat import PersistentScheduler
from celery.exceptions import SecurityWarning
from celery.signals import beat_init, setup_logging, worker_init, worker_process_init, worker_shutting_down
from celery.worker import state
from django.conf import settings

import ops.queue  # noqa: F401 - its signals, and the limit of tries
from ops import metrics
from ops.telemetry import init_sentry, init_tracing

# The container's user has no name, so Celery takes it for root and warns.
warnings.filterwarnings("ignore", category=SecurityWarning)

# Omit the return value, which may be personal data.
trace.LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"

# The health check prints this file and tests its age: `celery inspect ping` would fail for a busy worker.
HEARTBEAT = Path("/tmp/heartbeat")  # noqa: S108
# What the kernel says of the container's memory, in versions 2 and 1 of cgroups.
MEMORY = [Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control")]
STUCK = 15  # seconds without a turn of the main loop

logger = logging.getLogger(__name__)


def beat_with(doing: str) -> None:
    """Write into the heartbeat file what this process is doing."""
    HEARTBEAT.write_text(f"{datetime.now(UTC):%H:%M:%S} {doing}\n", encoding="utf-8")


def killed() -> int:
    """Return how many processes of this container the kernel has killed because its memory was full."""
    for file in MEMORY:
        with suppress(OSError):
            events = dict(line.split() for line in file.read_text(encoding="utf-8").splitlines())
            return int(events.get("oom_kill", 0))
    return 0


class Heartbeat(bootsteps.StartStopStep):
    """Write a file while the worker's main loop runs or waits to reconnect to Redis: it says what the worker does."""

    # The pool forks first: a process with threads should not.
    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def start(self, worker: Any) -> None:
        """Start beating."""
        self.turned, self.stuck, self.killed = time.monotonic(), False, killed()
        worker.timer.call_repeatedly(5, self.turn)
        threading.Thread(target=self.beat, args=[worker], daemon=True).start()

    def turn(self) -> None:
        """Record that the main loop is running."""
        self.turned = time.monotonic()

    def beat(self, worker: Any) -> None:
        """Write the file every five seconds, unless the main loop hangs."""
        while True:
            self.look(worker)
            time.sleep(5)

    def look(self, worker: Any) -> None:
        """Write the file, or log once that the main loop hangs; log that the memory was full."""
        stuck = worker.consumer.connection is not None and time.monotonic() - self.turned > STUCK
        if not stuck:
            tasks = len(state.active_requests)
            doing = f"runs {tasks} task{'s' * (tasks > 1)}" if tasks else "idle"
            beat_with(doing if worker.consumer.connection else "waits for Redis")
        elif not self.stuck:
            logger.error("The worker hangs: its main loop has not run for %s seconds", STUCK)
        self.stuck = stuck
        before, self.killed = self.killed, killed()
        if self.killed > before:
            logger.error(
                "Out of memory: the kernel has killed a process of this container. Raise the container's memory limit, "
                "or lower CELERY_WORKER_CONCURRENCY."
            )


class ResultBackend(RedisBackend):
    """Results in Redis, without a subscription for each task that is sent."""

    def on_task_call(self, *_: Any) -> None:
        """Do not subscribe: without Redis, that would block a request for 20 seconds."""


class Scheduler(PersistentScheduler):
    """Beat's schedule, in a file on a volume: it survives restarts, and only one beat can use it at a time."""

    def setup_schedule(self) -> None:
        """Open the schedule; exit if another beat has it open."""
        # Never closed: the process holds the lock until it ends.
        lock = os.open(f"{settings.CELERY_BEAT_SCHEDULE_FILENAME}.lock", os.O_CREAT | os.O_WRONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("Another beat is using the schedule. Run only one.") from None
        super().setup_schedule()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send the tasks that are due, and return the seconds until the next check."""
        seconds: float = super().tick(*args, **kwargs)
        beat_with("schedules tasks")
        return seconds


@setup_logging.connect
def log_as_django_does(**_: Any) -> None:
    """Keep Celery from configuring logging: settings.LOGGING applies to all processes."""


@beat_init.connect
@worker_init.connect
def report_errors(**_: Any) -> None:
    """Set up error reporting before Celery prepares the tasks, because Sentry wraps them."""
    init_sentry()


@worker_init.connect
def share_memory(**_: Any) -> None:
    """Keep looking for garbage from writing to the memory that the worker's processes share."""
    gc.freeze()


@worker_init.connect
def count_tasks(**_: Any) -> None:
    """Serve metrics before the worker starts its processes."""
    if metrics.serve():
        metrics.count_tasks()


@beat_init.connect
def show_queue(**_: Any) -> None:
    """Serve the metrics of the queue: there is only one beat."""
    metrics.serve(metrics.Queue())


@worker_process_init.connect
def send_traces(**_: Any) -> None:
    """Send traces from each of the worker's processes."""
    init_tracing()


@worker_init.connect
def keep_results(sender: Any, **_: Any) -> None:
    """Let a worker wait for Redis until it can store a result. A web process must not, because its client waits."""
    sender.app.conf.result_backend_always_retry = True


@worker_shutting_down.connect
def return_unfinished_tasks(how: str, **_: Any) -> None:
    """Return unfinished tasks to the queue after CELERY_DRAIN_SECONDS, before the container is killed."""

    def end() -> None:
        logger.warning("Some tasks did not finish in time: they return to the queue")
        os.kill(os.getpid(), signal.SIGQUIT)

    if how == "Warm":
        drain = threading.Timer(settings.CELERY_DRAIN_SECONDS, end)
        drain.daemon = True
        drain.start()
