"""A generated project, as its user handles it: git, Docker, Compose, make, HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine import Engine
from tests.matrix import Combination

SIGN_IN_BY_TOKEN = """
from accounts.models import User
from rest_framework.authtoken.models import Token
print(Token.objects.create(user=User.objects.create_user("%s")).key)
"""
SIGN_IN_BY_SESSION = """
from accounts.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.create_user("%s"))
print(client.session.session_key)
"""

COMMAND_TIMEOUT = 900  # seconds: a first build compiles, and two cores are shared


class CommandError(AssertionError):
    """A command ended otherwise than it had to. The message holds the end of what it printed."""


@dataclass
class Project:
    """A rendered project in `path`, and the engine it talks to."""

    path: Path
    combination: Combination
    engine: Engine
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The project's own name, which its images and containers carry."""
        return str(self.combination.data["project_slug"])

    @property
    def database(self) -> str:
        """The answer to the question for the database."""
        return str(self.combination.answers["database"])

    def run(self, *command: str, fails: bool = False, timeout: float = COMMAND_TIMEOUT) -> str:
        """Run `command` in the project, and return what it printed.

        CommandError if it fails, or succeeds though it `fails`; TimeoutExpired after `timeout` seconds.
        """
        environment = self.engine.env | self.environment
        for name in (
            "MAKEFLAGS",
            "MAKELEVEL",
            "MFLAGS",
        ):  # `make test` runs this, and a user's make knows nothing of it
            environment.pop(name, None)
        result = subprocess.run(
            command,
            cwd=self.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if bool(result.returncode) != fails:
            tail = "\n".join(result.stdout.splitlines()[-60:])
            raise CommandError(f"{self.combination.name}: `{' '.join(command)}` exited {result.returncode}:\n{tail}")
        return result.stdout

    def docker(self, *arguments: str, fails: bool = False) -> str:
        """Run `docker`."""
        return self.run("docker", *arguments, fails=fails)

    def compose(self, *arguments: str, fails: bool = False) -> str:
        """Run `docker compose` in the project. When starting it fails, the services' logs are shown as well."""
        try:
            return self.run("docker", "compose", "--progress", "quiet", *arguments, fails=fails)
        except CommandError as error:
            if arguments[0] == "up":
                logs = self.run("docker", "compose", "logs", "--no-color", "--tail", "40")
                raise CommandError(f"{error}\n--- logs ---\n{logs}") from None
            raise

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what `docker inspect` says of an image or a container."""
        document: dict[str, Any] = json.loads(self.docker("inspect", name))[0]
        return document

    def address(self, container: str) -> str:
        """Return the URL at which a container's port 8000 is published on this machine."""
        port = self.docker("port", container, "8000/tcp").splitlines()[0].rpartition(":")[2]
        return f"http://127.0.0.1:{port}"

    def container(self, service: str) -> str:
        """Return the id of a Compose service's container."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in one of the project's files, as an editor does; AssertionError if it is not there."""
        path = self.path / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} lacks {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def commit(self, message: str) -> str:
        """Commit everything, and return the version that this makes."""
        self.run("git", "add", "--all")
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        self.run("git", *identity, "commit", "--quiet", "--message", message)
        return self.run("git", "rev-parse", "--short=12", "HEAD").strip()

    def sign_in(self, name: str) -> dict[str, str]:
        """Make a user of the site, in the web container; return the headers that make a request theirs."""
        code = SIGN_IN_BY_TOKEN if self.combination.answers["use_drf"] else SIGN_IN_BY_SESSION
        key = self.compose("exec", "-T", "web", "python", "manage.py", "shell", "--no-imports", "-c", code % name)
        if self.combination.answers["use_drf"]:
            return {"Authorization": f"Token {key.strip()}"}
        token = "c" * 32
        return {"Cookie": f"sessionid={key.strip()}; csrftoken={token}", "X-CSRFToken": token}

    def wait_healthy(self, container: str, seconds: float = 60) -> None:
        """Wait until a container's HEALTHCHECK passes; CommandError with its log if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.inspect(container)["State"]
            if state.get("Health", {}).get("Status") == "healthy":
                return
            if not state["Running"]:
                break
            time.sleep(0.2)
        raise CommandError(f"{container} did not become healthy: {state}\n{self.docker('logs', container)}")


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    text: str


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: where one leads is for the test to look at."""

    def redirect_request(self, *_: Any) -> None:
        return None


def get(url: str, headers: dict[str, str] | None = None, timeout: float = 30, method: str = "GET") -> Answer:
    """Ask for `url`, and return the answer whatever its status; OSError if there is none."""
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
    try:
        with opener.open(request, timeout=timeout) as answer:
            return Answer(
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                answer.read().decode(errors="replace"),
            )
    except urllib.error.HTTPError as error:
        return Answer(
            error.code,
            {name.lower(): value for name, value in error.headers.items()},
            error.read().decode(errors="replace"),
        )
