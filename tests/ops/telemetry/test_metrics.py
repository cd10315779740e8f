"""Metrics of a web container, as Prometheus reads them."""

import os
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

PORT, METRICS_PORT = 8123, 9123


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the text of a response."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def lines(name: str, *labels: str) -> list[float]:
    """Return the values of a metric that have certain labels."""
    found = [line for line in get(METRICS_PORT, "/metrics")[1].splitlines() if line.startswith(name)]
    return [float(line.rpartition(" ")[2]) for line in found if all(label in line for label in labels)]


def test_requests_processes_and_the_server_are_measured(tmp_path: Path) -> None:
    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "GRANIAN_HOST": "127.0.0.1",
        "GRANIAN_PORT": str(PORT),
        "GRANIAN_WORKERS": "2",
        "METRICS_PORT": str(METRICS_PORT),
    }
    with subprocess.Popen([sys.executable, "-m", "ops.serve"], env=os.environ | variables) as server:
        try:
            deadline = time.monotonic() + 300
            while True:
                try:
                    assert get(PORT, "/livez")[0] == 200
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            for path, times in {"/": 5, "/admin/login/": 3, "/nowhere/": 2}.items():
                for _ in range(times):
                    get(PORT, path)
            assert get(PORT, "/", Content_Length="99000000")[0] == 413
            count = "http_request_duration_seconds_count"
            assert sum(lines(count)) == 11
            assert lines(count, 'method="GET"', 'route="admin/login/"', 'status="200"') == [3]
            assert lines(count, 'route="none"', 'status="404"') == [2]
            assert lines(count, 'route="none"', 'status="413"') == [1]
            assert len(lines("process_resident_memory_bytes")) >= 3
            assert lines("granian_workers_spawns") == [2]
        finally:
            server.terminate()
        assert server.wait(300) == 0
