"""All commands of development on a full disk and interrupted by Ctrl-C; taken ports, an old engine, a slow database.

The folder's name has a space and an apostrophe. What needs no container is in test_without_docker.
"""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import pexpect
import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix
from tests.support.day import terminal
from tests.support.disk import filled, small_disk
from tests.support.matrix import Combination
from tests.support.project import Project, clean_up, get, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=150,
    touched_by=[
        *("hooks/compose/database.yaml", "hooks/docker/runtime.Dockerfile", "template/compose.yaml.jinja"),
        *("template/Makefile.jinja", "template/scripts/dev.sh", "template/scripts/packages.sh"),
    ],
)
# What some targets are given.
ARGUMENTS = {"manage": ["ARGS=check"], "startapp": ["NAME=extra"], "messages": ["LOCALE=de"]}
# These make space, or write nothing.
ON_A_FULL_DISK = {"down", "logs", "reset-db", "build"}
# What those say that start no process in the project's containers.
SAID = {"build": "Building", "logs": "web-1"}
# These end what runs: they come last.
AT_THE_END = {"up", "down", "reset-db"}


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """The default project, in a folder on a small disk of its own if root runs this."""
    combination = Combination("slipway-obstacles", matrix.default_combination().answers)
    project = make_project(copie_session, engine, combination)
    project.path = project.path.rename(project.path.with_name("ada's site"))
    with small_disk(project.path, 24) if os.getuid() == 0 else nullcontext():
        try:
            project.compose("up", "--build", "--detach", "--wait")
            yield project
        finally:
            clean_up(project)


def commands(site: Project) -> list[str]:
    """Return the targets that work in development, in containers.

    AssertionError if a target neither does that nor runs a script of its own, which test_without_docker tries.
    """
    recipes = dict(
        re.findall(r"(?m)^([a-z-]+):.*\n((?:\t.*\n)*)", (site.path / "Makefile").read_text(encoding="utf-8"))
    )
    found = [name for name in recipes if re.search(r"\$\((WEB|CODE|RUN|LOCK)\)|docker (compose|build)", recipes[name])]
    assert len(found) > 15
    others = recipes.keys() - {*found, "help"}
    assert [name for name in others if not re.search(r"\bsh scripts/\w+\.sh", recipes[name])] == []
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")
def test_a_full_disk(site: Project) -> None:
    before = site.run("git", "status", "--porcelain")
    with filled(site.path / "filler.env"):  # git ignores it
        for name in sorted({*commands(site)} - ON_A_FULL_DISK - AT_THE_END):
            said = site.run("make", "--silent", name, *ARGUMENTS.get(name, []), fails=True)
            lines = [line for line in said.splitlines() if "full" in line]
            assert lines == ["The disk of /app is full: free some space"], f"{name}: {said}"
            assert "Traceback" not in said
    assert site.run("git", "status", "--porcelain") == before


def activity(site: Project) -> Counter[str]:
    """Return what runs for the project: its containers, and what the site runs besides its server and probe."""
    found: Counter[str] = Counter()
    for which in (f"label=com.docker.compose.project={site.slug}", f"volume={site.path}"):
        found |= Counter(site.docker("ps", "--quiet", "--filter", which).split())
    web = site.compose("ps", "--quiet", "web").strip()
    if web:
        lines = site.docker("top", web, "-eo", "pid,args").splitlines()[1:]
        found += Counter(line.split(None, 1)[1] for line in lines if not re.search("runserver|http.client", line))
    return found


def interrupt(site: Project, name: str) -> tuple[int, str]:
    """Run a target in a terminal, and press Ctrl-C once it works; then, where a shell stays, Ctrl-D.

    Return its exit code, or the signal that ended it plus 128, and what keeps running.
    """
    before = activity(site)
    child = terminal(site, "make", name, *ARGUMENTS.get(name, []))
    try:
        if name in SAID:
            child.expect(SAID[name])
        else:
            until(lambda: activity(site) - before or not child.isalive())
        for press in range(60):
            if child.isalive():
                child.sendintr() if press < 2 else child.sendeof()
            if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=2) == 0:
                break
    finally:
        child.close(force=True)
    with suppress(AssertionError):
        until(lambda: not activity(site) - before, within=60)
    code = child.exitstatus if child.exitstatus is not None else 128 + (child.signalstatus or 0)
    return code, ", ".join(activity(site) - before)


def test_ctrl_c(site: Project) -> None:
    """The lock asks an index that never answers."""
    network = ("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
    codes, left = {}, {}
    with socket.create_server((site.docker(*network).strip(), 0)) as index:
        host, port = index.getsockname()
        site.environment["INDEX_URL"] = f"http://{host}:{port}/simple"
        before = site.run("git", "status", "--porcelain")
        for name in sorted({*commands(site)} - AT_THE_END):
            codes[name], left[name] = interrupt(site, name)
            changed = site.run("git", "status", "--porcelain")
            if codes[name] and changed != before:
                left[name] += f", {changed}"
            site.run("git", "clean", "--force", "-d", "--quiet")
            site.run("git", "checkout", "--quiet", ".")
        del site.environment["INDEX_URL"]
    assert {name: found for name, found in left.items() if found} == {}
    assert {name for name, code in codes.items() if code} >= {"lock", "upgrade", "lint", "messages"}, codes
    site.compose("down")
    child = terminal(site, "make", "up")
    until(lambda: site.compose("ps", "--quiet", "web").strip())
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()  # its exit code is Compose's own, for that is how it is ended every day
    assert site.compose("ps", "--quiet").strip() == ""


def test_a_taken_port(site: Project) -> None:
    site.compose("down")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        usual, site.environment["PORT"] = site.environment["PORT"], str(port)
        try:
            said = site.run("make", "up", fails=True)
        finally:
            site.environment["PORT"] = usual
    assert re.search(rf"(?m)^Error .*:{port}.*(already allocated|already in use)", said), said
    assert site.compose("ps", "--quiet").strip() == ""


def test_an_engine_that_does_not_know_start_interval(site: Project) -> None:
    """One before 25 refuses the flag, as this one refuses another."""
    site.edit("Dockerfile", "--start-interval", "--start-intervals")
    try:
        for command in (["docker", "build", "."], ["docker", "compose", "build"]):
            said = site.run(*command, fails=True)
            assert "unknown flag: " in said
            assert "# Docker before 25 refuses the lines above as an unknown flag: install 26.1 or newer." in said
    finally:
        site.edit("Dockerfile", "--start-intervals", "--start-interval")


# The first boot runs it: as an import does, it takes as long as it takes. Docker has less patience than it usually has.
SLOW = """
services:
  database:
    volumes:
      - ./slow.sh:/docker-entrypoint-initdb.d/slow.sh:ro
      - ./import:/import:ro
    healthcheck:
      retries: 1
      interval: 1s
"""


def test_a_slow_first_boot(copie_session: Copie, engine: Engine) -> None:
    combination = Combination("slipway-obstacles-slow", matrix.pick(database="postgres", use_celery=False).answers)
    site = make_project(copie_session, engine, combination)
    (site.path / "compose.override.yaml").write_text(SLOW, encoding="utf-8")
    (site.path / "slow.sh").write_text("until [ -e /import/done ]; do sleep 0.2; done\n", encoding="utf-8")
    (site.path / "import").mkdir()

    def health() -> tuple[str, list[int]]:
        found = site.inspect(container)["State"]["Health"]
        return found["Status"], [each["ExitCode"] for each in found["Log"]]

    try:
        with ThreadPoolExecutor(1) as other:
            up = other.submit(site.compose, "up", "--build", "--detach", "--wait")
            until(lambda: site.compose("ps", "--quiet", "database").strip() or up.done())
            container = site.container("database")
            until(lambda: len(health()[1]) == 5 or up.done())
            status, codes = health()
            (site.path / "import" / "done").touch()
            assert 0 not in codes
            assert status == "starting"
            up.result()
        assert get(f"{site.address(site.container('web'))}/readyz").status == 200
        period = site.inspect(container)["Config"]["Healthcheck"]["StartPeriod"]
        assert period >= 3600 * 1e9, "an import may take an hour"
    finally:
        (site.path / "import" / "done").touch()
        clean_up(site)
