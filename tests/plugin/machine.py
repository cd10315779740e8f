"""Provide the engine and the base images before the first test, and leave nothing running after the last."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.engine import Engine, EngineError, ensure_engine, ensure_image, reuse_bytecode, stop_engine
from tests.plugin.selection import selected
from tests.support import matrix
from tests.support.servers import remove_servers, run_name
from tests.support.swarm import leave_swarm

ENGINE = pytest.StashKey[Engine]()
IMAGES = pytest.StashKey[list[str]]()
# Projects beside the matrix, which an interrupted run leaves behind.
BESIDE = (
    r"slipway-(backup|browser|continuity|data|demo-test|hour|journal|kubernetes|major|migrate|obstacles|older|production|publish|slow|stable"
    r"|swarm|tasks|team|telemetry|unusual|updated)(-[a-z0-9]+)*"
)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker the name of this run."""
    node.workerinput["run"] = run_name(node.config)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Provide an engine and the base images before the first test; exit with one line if that fails."""
    os.environ["COPIER_SETTINGS_PATH"] = os.devnull  # a developer's own settings would change the answers
    # For dockerd and its clients, written in Go: collecting garbage took a quarter of dockerd's time in builds.
    os.environ.setdefault("GOGC", "400")
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    try:
        engine = ensure_engine()
        session.config.stash[ENGINE] = engine
        leave_swarm(engine)  # left behind by a killed run
        remove_servers(engine)
        names = dict.fromkeys(name for each in selected(session.config) for name in matrix.images(each))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(lambda name: str(ensure_image(engine, name)), names))
        reuse_bytecode(engine, next(name for name in names if name.startswith("python:")), True)
    except EngineError as error:
        pytest.exit(str(error), returncode=1)
    session.config.stash[IMAGES] = images


def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[KeyboardInterrupt]) -> None:
    """Remember that the tests could not clean up after themselves."""
    global _interrupted
    _interrupted = True


_interrupted = False


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave neither containers nor an engine that this run started, even when interrupted."""
    engine = config.stash.get(ENGINE, None)
    if not engine:
        return
    if not engine.started:
        if _interrupted:
            sweep(engine, [each.slug for each in selected(config)], alone=bool(config.getoption("--only")))
        remove_servers(engine, run_name(config))
    leave_swarm(engine, run_name(config))
    if engine.started:
        stop_engine()


def sweep(engine: Engine, slugs: list[str], *, alone: bool) -> None:
    """Remove the containers, networks and volumes of the projects called `slugs`, and of those beside the matrix.

    With `alone`, only the former: another run may be using the latter.
    """
    ours = re.compile(rf"({'|'.join([*slugs, *([] if alone else [BESIDE])])})[-_]")
    for kind, options in (("container", ["--all"]), ("network", []), ("volume", [])):
        column = "{{.Names}}" if kind == "container" else "{{.Name}}"
        listing = ["docker", kind, "ls", *options, "--format", column]
        found = subprocess.run(listing, env=engine.env, capture_output=True, text=True, check=False).stdout.split()
        if left := [name for name in found if ours.match(name)]:
            force = [] if kind == "network" else ["--force"]
            subprocess.run(["docker", kind, "rm", *force, *left], env=engine.env, capture_output=True, check=False)
