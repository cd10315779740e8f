"""Database servers that all combinations of a run share, and production sites with a database each.

A server's first boot takes up to ten seconds, and is the same for all combinations that have it: the server is started
once, from the first one's compose.yaml. In production, each combination has its own database in it, and its own Redis.
In development, each starts its own server, on a copy of what the first boot left.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.engine import Engine
from tests.engine.engine import locked
from tests.support.own_checks import MYPY, RUFF, TESTS, development_packages, mypy_volume
from tests.support.project import DOWN, PATIENCE, CommandError, Project

PREFIX = "slipway-matrix"
KEY = "a-secret-key-of-fifty-characters-for-this-test-012"
WARNINGS = "error::DeprecationWarning,error::PendingDeprecationWarning,error::FutureWarning"
WARNINGS += ",ignore:Call to deprecated setex:DeprecationWarning"  # raised by Celery itself
# Commands that create another database, run in the server's container.
CREATE = {
    "postgres": "createdb --username app {name}",
    "mysql": 'MYSQL_PWD=development mysql --user=root --execute="CREATE DATABASE {name}"',
    "mariadb": 'mariadb --user=root --password=development --execute="CREATE DATABASE {name}"',
}


def ensure_server(project: Project, run: str) -> str:
    """Start the database server of `run` unless it is up or the project needs none; return its network's name."""
    name = f"{PREFIX}-{run}-{project.database}"
    network = f"{name}_default"
    with locked(f"{PREFIX}-{project.database}"):
        if project.run("docker", "network", "ls", "--quiet", "--filter", f"name=^{network}$"):
            return network
        if project.database == "sqlite":
            project.docker("network", "create", network)
        else:
            try:
                project.compose("--project-name", name, "up", "--detach", "--wait", "database")
                project.compose("--project-name", name, "stop", "database")
                project.docker("volume", "create", "--label", f"com.docker.compose.project={name}", f"{name}_first")
                copy_volume(project, f"{name}_database", f"{name}_first")
                project.compose("--project-name", name, "up", "--detach", "--wait", "database")
            except CommandError:
                project.compose("--project-name", name, *DOWN)  # otherwise the next test would take it for a server
                raise
    return network


def copy_first_boot(project: Project, run: str) -> None:
    """Create a project's own database server, if it has one, with what the first boot of `run`'s server left."""
    if project.database != "sqlite":
        server = ensure_server(project, run).removesuffix("_default")
        project.compose("create", "database")
        copy_volume(project, f"{server}_first", f"{project.slug}_database")


def copy_volume(project: Project, source: str, target: str) -> None:
    """Copy the files of one of the database's volumes to another."""
    image = yaml.safe_load((project.path / "compose.yaml").read_text(encoding="utf-8"))["services"]["database"]["image"]
    volumes = ("--volume", f"{source}:/from:ro", "--volume", f"{target}:/to")
    copy = ("--archive", "--sparse=always", "/from/.", "/to")
    project.docker("run", "--rm", "--network", "none", "--user", "0", *volumes, "--entrypoint", "cp", image, *copy)


def remove_servers(engine: Engine, run: str = "") -> None:
    """Remove the servers and sites of `run`; without a name, those of all runs whose process is gone."""
    # Of a run that stopped its engine, only the volumes are left.
    listing = ";".join(
        f"docker {kind} ls --format '{{{{.Name}}}}' --filter name=^{PREFIX}-" for kind in ("network", "volume")
    )
    found = subprocess.run(["sh", "-c", listing], env=engine.env, capture_output=True, text=True, check=False).stdout
    for server in sorted({name.rpartition("_")[0] for name in found.split()}):
        of = server.split("-")[2]
        if of != run and (run or Path("/proc", of).exists()):
            continue
        network = f"{server}_default"
        # First the containers that a killed run left: a network with containers on it cannot be removed.
        sites = f"docker ps --all --quiet --filter network={network} | xargs -r docker rm --force --volumes"
        down = f"docker compose --project-name {server} down --volumes --timeout 1"
        script = f"{sites}; {down}; docker network rm {network}"
        subprocess.run(["sh", "-c", script], env=engine.env, capture_output=True, check=False)


@dataclass
class Site:
    """A combination's running production image: its containers, started with the documented variables only."""

    project: Project
    network: str
    containers: dict[str, str] = field(default_factory=dict)  #: service -> container
    address: str = ""  #: the site's URL, once it has started

    def __post_init__(self) -> None:
        development, production = (
            yaml.safe_load((self.project.path / name).read_text(encoding="utf-8"))["services"]
            for name in ("compose.yaml", "compose.production.yaml")
        )
        self.services: dict[str, Any] = development
        self.commands = {name: service.get("command") for name, service in production.items()}
        self.variables = {
            name: re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value)  # its default
            for name, value in self.services["web"]["environment"].items()
            if re.fullmatch(r"(DATABASE|REDIS)_URL", name)
        }

    @property
    def name(self) -> str:
        """The name of its database."""
        return self.project.slug.replace("-", "_")

    def find_servers(self) -> None:
        """Start its Redis if it has one, and put its servers' URLs into `variables`."""
        if self.project.database in CREATE:
            self.variables["DATABASE_URL"] = self.variables["DATABASE_URL"].removesuffix("/app") + f"/{self.name}"
        if "redis" in self.services:
            redis = self.services["redis"]
            options = ("--detach", "--no-healthcheck")
            command = redis["command"].split()
            self.run("redis", redis["image"], *command, options=options, variables=redis["environment"])
            url = self.variables["REDIS_URL"]
            self.variables["REDIS_URL"] = url.replace("@redis:", f"@{self.containers['redis']}:")

    def start(self) -> None:
        """Create the database, migrate it, and start all services; CommandError if anything fails."""
        if create := CREATE.get(self.project.database):
            server = self.network.removesuffix("_default") + "-database-1"
            self.project.docker("exec", server, "sh", "-ec", create.format(name=self.name))
        self.find_servers()
        # One worker process: the deployment tests cover several.
        self.variables |= {"SECRET_KEY": KEY, "PYTHONWARNINGS": WARNINGS, "GRANIAN_WORKERS": "1"}
        image = self.project.slug
        if self.project.database != "sqlite":  # the web container migrates SQLite itself
            self.run("migrate", image, *self.commands["migrate"].split(), options=("--rm", "--no-healthcheck"))
        self.run("web", image, options=("--detach", "--no-healthcheck", "--publish", "127.0.0.1:0:8000"))
        self.address = self.project.wait_answering(self.containers["web"])
        for name in ("worker", "beat"):
            if name in self.commands:
                self.run(name, image, *self.commands[name].split(), options=("--detach", "--init", "--no-healthcheck"))

    def check_code(self, folder: Path) -> str:
        """Run the tests and the linters of the code in `folder`, in the production image; return their output."""
        self.find_servers()
        self.variables |= {"DEBUG": "1"}
        options = (
            "--rm",
            "--no-healthcheck",
            "--user",
            "1000:1000",
            "--volume",
            f"{folder}:/app",
            *mypy_volume(self.project),
            *development_packages(self.project),
        )
        # Scripts of packages that the host has installed name the host's Python.
        commands = f"python -m {TESTS}; {RUFF}; {MYPY.replace('mypy --', 'python -m mypy --')}"
        return self.run("checks", self.project.slug, "sh", "-ec", commands, options=options)

    def run(
        self,
        service: str,
        image: str,
        *command: str,
        options: tuple[str, ...] = ("--detach",),
        variables: dict[str, str] | None = None,
    ) -> str:
        """Run a container, and return what Docker printed."""
        self.containers[service] = f"{self.project.slug}-{service}"
        environment = self.variables if variables is None else variables
        options = (*options, "--name", self.containers[service], "--network", self.network)
        if image == self.project.slug:
            options = (*options, "--volume", f"{self.project.slug}_site:/data")
        return self.project.docker(
            "run",
            *options,
            *(word for name, value in environment.items() for word in ("--env", f"{name}={value}")),
            image,
            *command,
        )

    def python(self, code: str) -> str:
        """Run Python with Django loaded in the web container, and return what it prints."""
        shell = ("python", "manage.py", "shell", "--no-imports", "--command", code)
        return self.project.docker("exec", self.containers["web"], *shell)

    def stop(self) -> dict[str, int]:
        """Stop all containers of the image; return how each ended: service -> exit code."""
        ours = {name: container for name, container in self.containers.items() if name not in ("redis", "migrate")}
        self.project.docker("stop", "--time", str(PATIENCE), *ours.values())
        codes = self.project.docker("inspect", "--format", "{{.State.ExitCode}}", *ours.values()).split()
        return dict(zip(ours, map(int, codes), strict=True))

    def remove(self) -> None:
        """Remove its containers and its volume; the database goes with the server."""
        self.project.run(
            "sh",
            "-c",
            f"docker rm --force --volumes {' '.join(self.containers.values())}; "
            f"docker volume rm --force {self.project.slug}_site",
        )


def run_name(config: Any) -> str:
    """Return this run's name, the same in all of its workers: the id of the process that started them."""
    worker = getattr(config, "workerinput", None)
    return str(worker["run"]) if worker else str(os.getpid())
