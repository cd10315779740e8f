"""A Swarm of this machine alone, for the duration of the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.engine import Engine

LABEL = "slipway-tests"


def join_swarm(engine: Engine, run: str) -> None:
    """Turn this machine into a single-node Swarm for the tests of the run called `run`."""
    for command in (
        "docker swarm init --advertise-addr 127.0.0.1",
        f"docker node update --label-add {LABEL}={run} $(docker node ls --quiet)",
    ):
        subprocess.run(["sh", "-c", command], env=engine.env, check=True, capture_output=True)


def leave_swarm(engine: Engine, run: str = "") -> None:
    """End the Swarm that `run` made; without a name, that of a run whose process is gone.

    The Swarm stays while containers run outside it, such as those of another run: Docker would forget their names,
    and they could no longer resolve each other.
    """
    inspect = ["docker", "node", "inspect", "self", "--format", f'{{{{index .Spec.Labels "{LABEL}"}}}}']
    of = subprocess.run(inspect, env=engine.env, capture_output=True, text=True, check=False).stdout.strip()
    if not of or (of != run and (run or Path("/proc", of).exists())):
        return
    services = ["docker", "ps", "--format", '[{{.Label "com.docker.swarm.service.name"}}]']
    if "[]" in subprocess.run(services, env=engine.env, capture_output=True, text=True, check=True).stdout:
        print("The engine stays in the tests' Swarm, because other containers run: docker swarm leave --force ends it")
        return
    subprocess.run(["docker", "swarm", "leave", "--force"], env=engine.env, check=True, capture_output=True)


def swarm_state(engine: Engine) -> str:
    """Return "active" if the engine belongs to a Swarm; otherwise "inactive", or another state after a failure."""
    info = ["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"]
    return subprocess.run(info, env=engine.env, capture_output=True, text=True, check=True).stdout.strip()
