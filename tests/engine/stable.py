"""Debian 13's own Docker, for a test: the oldest that projects are made for, beside the engine of all other tests.

Two engines in one network would overwrite each other's firewall rules, so this one has a network namespace of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .debian import EngineError, last_line, require_root_on_debian, run, say
from .engine import Engine, Layout, locked, set_up, start, sweep

PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "docker-compose", "containerd", "tini")
#: The namespace, and the machine's interface that leads into it.
NAME = "slipway-stable"
NETWORK, OUTSIDE, INSIDE = "10.213.255.252/30", "10.213.255.253", "10.213.255.254"
#: A command that runs another one where this engine's ports are.
WITHIN = ("nsenter", f"--net=/run/netns/{NAME}")
RULES = (
    ("--table", "nat", "POSTROUTING", "--source", NETWORK, "--jump", "MASQUERADE"),
    ("--table", "filter", "FORWARD", "--in-interface", NAME, "--jump", "ACCEPT"),
    ("--table", "filter", "FORWARD", "--out-interface", NAME, "--jump", "ACCEPT"),
)


@contextmanager
def stable_engine(source: Engine, images: list[str]) -> Iterator[Engine]:
    """Run Debian 13's engine with these images of the engine `source`, and stop it at the end.

    Its images and build cache stay for the next time. One process at a time runs it; others wait. EngineError if this
    machine cannot, or if it does not start.
    """
    require_root_on_debian("Running Debian 13's Docker beside the tests' own")
    layout = Layout("stable", "trixie", PACKAGES)
    engine = Engine(layout.environment(), private=True, started=True)
    with locked("stable"):
        set_up(layout)
        sweep(layout)
        _disconnect()
        try:
            _connect()
            start(layout, *WITHIN)
            for name in images:
                _copy(source, engine, name)
            yield engine
        finally:
            running = run("docker", "ps", "--quiet", env=engine.env, timeout=30).stdout.split()
            if running:
                run("docker", "rm", "--force", *running, env=engine.env, timeout=60)
            sweep(layout)
            _disconnect()


def _connect() -> None:
    """Make the namespace, and lead its traffic out of this machine."""
    inside = ("-netns", NAME)
    for command in (
        ("ip", "netns", "add", NAME),
        ("ip", "link", "add", NAME, "type", "veth", "peer", "name", "eth0", "netns", NAME),
        ("ip", "address", "add", f"{OUTSIDE}/30", "dev", NAME),
        ("ip", "link", "set", NAME, "up"),
        ("ip", *inside, "link", "set", "lo", "up"),
        ("ip", *inside, "address", "add", f"{INSIDE}/30", "dev", "eth0"),
        ("ip", *inside, "link", "set", "eth0", "up"),
        ("ip", *inside, "route", "add", "default", "via", OUTSIDE),
        *(("iptables", "--wait", *rule[:2], "--insert", *rule[2:]) for rule in RULES),
    ):
        result = run(*command)
        if result.returncode:
            raise EngineError(f"Debian 13's Docker gets no network: {command[0]}: {last_line(result.stderr)}")


def _disconnect() -> None:
    """Undo it; harmless if there is nothing to undo."""
    for rule in RULES:
        while run("iptables", "--wait", *rule[:2], "--delete", *rule[2:]).returncode == 0:
            continue
    run("ip", "link", "delete", NAME)
    if Path("/run/netns", NAME).exists():
        run("ip", "netns", "delete", NAME)


def _copy(source: Engine, target: Engine, name: str) -> None:
    """Copy an image from one engine to another, unless it is there."""
    identity = ("docker", "image", "inspect", "--format", "{{.Id}}", name)
    if run(*identity, env=source.env).stdout == run(*identity, env=target.env).stdout:
        return
    say(f"copying {name} to Debian 13's Docker")
    with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE, env=source.env) as save:
        load = subprocess.run(["docker", "load"], stdin=save.stdout, env=target.env, capture_output=True, check=False)
    if load.returncode or save.returncode:
        raise EngineError(f"{name} cannot be copied to Debian 13's Docker: {last_line(load.stderr.decode())}")
