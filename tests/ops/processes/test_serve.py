"""The server's processes: workers are copies that share memory and no connection, and end whenever they are told to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.conf import settings

PORT = 8124
SQLITE = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
# Seconds after which a test gives up, and less than those after which Granian kills a worker that does not stop.
PATIENCE, KILL = 300, 600


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; AssertionError if it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def get(path: str) -> int:
    """Return the status of a response, over a connection of its own; 0 if there is none."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def ask(path: str) -> None:
    """Ask until all workers are likely to have answered."""
    until(lambda: get(path) == 200)
    assert [get(path) for _ in range(20)] == [200] * 20


def workers(server: subprocess.Popen[bytes]) -> list[int]:
    """Return the server's child processes."""
    return [int(each) for each in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def connections(process: int) -> set[str]:
    """Return what a process listens to and is connected to, as the inodes of the sockets."""
    tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    known = {f"socket:[{line.split()[9]}]" for table in tables for line in table}
    return known & {os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir()}


def ignores_stops(process: int) -> bool:
    """Return whether SIGTERM would not end a process, because it has no handler yet."""
    [caught] = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return not int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1


@contextmanager
def running(folder: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server with two workers, and kill it if it is still there at the end."""
    variables |= {"GRANIAN_HOST": "127.0.0.1", "GRANIAN_PORT": str(PORT), "GRANIAN_WORKERS": "2"}
    variables["GRANIAN_WORKERS_KILL_TIMEOUT"] = str(KILL)
    if SQLITE:
        variables["DATABASE_URL"] = f"sqlite:///{folder}/db.sqlite3"
    with subprocess.Popen([sys.executable, "-m", "ops.serve"], env=os.environ | variables) as server:
        try:
            yield server
        finally:
            server.kill()


def test_workers_share_memory_and_no_connection_and_are_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        ask("/readyz")
        until(lambda: get("/") == 200 and (SQLITE or all(len(connections(each)) > 1 for each in workers(server))))
        before = workers(server)
        assert len(before) == 2
        for each in before:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()[1:]
            sizes = {name: int(size.split()[0]) for name, size in (line.split(":") for line in lines)}
            assert sizes["Private_Dirty"] * 2 < sizes["Rss"], "a worker has loaded the site for itself"
        open_ = [connections(each) for each in (server.pid, *before)]
        assert len(set.union(*open_)) == sum(map(len, open_)), "processes share a connection"
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(set(workers(server)) - {before[0]}) == 2)
        ask("/readyz")
        server.terminate()
        assert server.wait(PATIENCE) == 0


@pytest.mark.parametrize("started", [0, 1, 2])
def test_a_stop_during_the_start_ends_it(started: int, tmp_path: Path) -> None:
    """When it has started so many workers."""
    with running(tmp_path) as server:
        until(lambda: len(workers(server)) >= started and not ignores_stops(server.pid))
        server.terminate()
        assert server.wait(PATIENCE) == 0


def test_a_worker_that_has_just_started_can_be_stopped(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        until(lambda: workers(server))
        [first, *_] = workers(server)
        os.kill(first, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{first}").exists())
        ask("/livez")
        server.terminate()
        assert server.wait(PATIENCE) == 0


def test_workers_can_load_the_site_for_themselves(tmp_path: Path) -> None:
    with running(tmp_path, WEB_PRELOAD="0") as server:
        ask("/readyz")
        commands = [Path(f"/proc/{each}/cmdline").read_bytes() for each in workers(server)]
        assert sum(b"spawn_main" in each for each in commands) == 2
        server.terminate()
        assert server.wait(PATIENCE) == 0


def test_a_process_with_threads_or_connections_is_not_copied() -> None:
    code = """
import logging, socket, threading
from ops.serve import forks
logging.basicConfig(level="INFO", format="%(message)s")
print(forks())
thread = threading.Thread(target=threading.Event().wait, name="ours", daemon=True)
thread.start()
left = socket.socketpair()
print(forks())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ended.stdout.split() == ["True", "False"]
    assert ended.stderr.splitlines()[-1].endswith("leaves threads (ours) and connections")


def test_processes_that_a_worker_starts_are_no_copies() -> None:
    code = """
import multiprocessing, os, django
multiprocessing.set_start_method("fork")
django.setup()
from ops.front import worker
worker()
print(multiprocessing.get_start_method(), flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ended.stdout == "spawn\n"
