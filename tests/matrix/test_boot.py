"""Every combination's production image boots with its own command, serves, completes tasks, and stops cleanly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugin.selection import selected
from tests.support import asked
from tests.support.images import LOOK, UNCOMPILED, UNSHARED
from tests.support.project import Project, get
from tests.support.servers import Site, ensure_server, run_name


@pytest.fixture(scope="module")
def site(project: Project, built: dict[str, Any], pytestconfig: pytest.Config) -> Iterator[Site]:
    """The combination in production, on a database of its own, with Redis, worker and beat if it has them."""
    made = Site(project, ensure_server(project, run_name(pytestconfig)))
    made.remove()  # the volume that a killed run left
    try:
        made.start()
        yield made
    finally:
        made.remove()


def test_it_serves(site: Site) -> None:
    address = site.address
    assert get(f"{address}/livez").text == "ok\n"
    assert get(f"{address}/readyz", {"Host": "10.0.0.1"}).text == "ok\n"
    home = get(f"{address}/", {"X-Request-ID": "trace-1"})
    asked.home_page(site.project, home)
    assert "<dt>" not in home.text, "production shows its versions"
    style = re.search(r'href="(/static/site\.[0-9a-f]{12}\.css)"', home.text)
    assert style, "the style sheet's name has no hash"
    answer = get(address + style[1], {"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert get(f"{address}/admin/login/").status == 200
    assert get(f"{address}/", {"Host": "evil.example"}).status == 400
    asked.api(site.project, address)


def test_its_content(site: Site, built: dict[str, Any]) -> None:
    health = built["Config"]["Healthcheck"]["Test"][1:]
    seen = json.loads(site.project.docker("exec", site.containers["web"], "python", "-c", LOOK, *health))
    assert str(seen["uid"]) == built["Config"]["User"].partition(":")[0]
    assert seen["tools"] == []
    assert seen["modules"] == []
    assert seen["writable"] == [], "the site can change its own code"
    assert seen["unreadable"] == []
    assert seen["canary"] == []
    assert not {".env", ".git", ".venv", "tests", "compose.yaml"} & set(seen["app"])
    assert seen["server"], "the server is not PID 1"
    assert seen["healthy"]


def test_what_it_imports_has_bytecode(site: Site, pytestconfig: pytest.Config) -> None:
    """Where each pair of answers occurs. As a parameter of its own, it would start each site a second time."""
    if site.project.combination not in selected(pytestconfig, covering=2):
        return
    modules = ["config.wsgi", "config.urls", "granian.server", "ops.serve", "http.client", "multiprocessing.spawn"]
    if site.project.combination.answers["use_celery"]:
        modules += ["celery.bin.celery", "celery.worker", "celery.beat"]
    command = ("exec", site.containers["web"], "python", "-c", UNCOMPILED, *modules)
    assert site.project.docker(*command).strip() == ""


def test_a_task_sent_over_http_is_done(site: Site) -> None:
    asked.task(site.project, site.address, site.python)


def test_its_processes_share_memory(site: Site) -> None:
    # After a task: a worker that is starting has nobody to share with yet.
    for name in {"web", "worker"} & set(site.containers):
        assert site.project.docker("exec", site.containers[name], "python", "-c", UNSHARED) == "", name


def test_it_stops_cleanly_after_logs_in_json(site: Site) -> None:
    codes = site.stop()
    assert set(codes.values()) == {0}, codes
    assert set(codes) == {"web"} | ({"worker", "beat"} if site.project.combination.answers["use_celery"] else set())
    lines = [json.loads(line) for line in site.project.docker("logs", site.containers["web"]).splitlines()]
    assert [line["path"] for line in lines if line["request_id"] == "trace-1"] == ["/"], "the request is not in the log"
