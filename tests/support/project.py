"""A generated project, used as its team would: git, Docker, Compose, make, HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support.matrix import Combination
from tests.support.releases import commit_all, git
from tools.lock import compile_locks

SIGN_IN_BY_TOKEN = """
from accounts.models import User
user = User.objects.create_user("%s")
try:
    from knox.models import AuthToken
    print(AuthToken.objects.create(user)[1])
except ImportError:  # a release before 1.0
    from rest_framework.authtoken.models import Token
    print(Token.objects.create(user=user).key)
"""
SIGN_IN_BY_SESSION = """
from accounts.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.create_user("%s"))
print(client.session.session_key)
"""

# Whether there is an API -> a script that creates a user and prints a token or session key.
SIGN_IN = {True: SIGN_IN_BY_TOKEN, False: SIGN_IN_BY_SESSION}

DOWN = ("down", "--volumes", "--remove-orphans", "--timeout", "1")
COMMAND_TIMEOUT = 900  # seconds: a first build compiles, and two cores are shared
# Seconds after which a test gives up. On a slow host, all takes twenty times as long as usual.
PATIENCE = 300


class CommandError(AssertionError):
    """A command failed, or should have failed and did not. The message holds the end of its output."""


@dataclass
class Project:
    """A rendered project in `path`, and the engine it talks to."""

    path: Path
    combination: Combination
    engine: Engine
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The project slug, after which its images and containers are named."""
        return str(self.combination.data["project_slug"])

    @property
    def database(self) -> str:
        """The answer to the question `database`."""
        return str(self.combination.answers["database"])

    def run(self, *command: str, fails: bool = False, timeout: float = COMMAND_TIMEOUT) -> str:
        """Run `command` in the project, and return its output.

        CommandError if it fails, or with `fails` if it succeeds; TimeoutExpired after `timeout` seconds.
        """
        environment = self.engine.env | self.environment
        for name in (
            "MAKEFLAGS",
            "MAKELEVEL",
            "MFLAGS",
        ):  # set by `make test`; a user's make runs without them
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
        """Run `docker compose` in the project. If `up` fails, the error includes the services' logs."""
        try:
            return self.run("docker", "compose", "--progress", "quiet", *arguments, fails=fails)
        except CommandError as error:
            if "up" in arguments:
                options = arguments[: arguments.index("up")]
                logs = self.run("docker", "compose", *options, "logs", "--no-color", "--tail", "40")
                raise CommandError(f"{error}\n--- logs ---\n{logs}") from None
            raise

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the output of `docker inspect` for an image or a container."""
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
        """Commit everything, and return the commit's short hash, which is its version."""
        self.run("git", "add", "--all")
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        self.run("git", *identity, "commit", "--quiet", "--message", message)
        return self.run("git", "rev-parse", "--short=12", "HEAD").strip()

    def sign_in(self, name: str) -> dict[str, str]:
        """Create a user of the site, in the web container; return the headers that authenticate as that user."""
        code = SIGN_IN[self.combination.answers["use_drf"]] % name
        shell = ("python", "manage.py", "shell", "--no-imports", "-c", code)
        return credentials(self, self.compose("exec", "-T", "web", *shell))

    def wait_answering(self, container: str, seconds: float = PATIENCE) -> str:
        """Wait until a container's site answers, and return its URL; CommandError if it ends or takes too long.

        That costs less than Docker's health checks, each of which starts a process.
        """
        address = self.address(container)
        start = time.monotonic()
        looks = 0
        while time.monotonic() - start < seconds:
            with suppress(OSError):
                if get(f"{address}/livez").status == 200:
                    return address
            looks += 1
            if looks % 20 == 0 and not self.inspect(container)["State"]["Running"]:
                break
            time.sleep(0.1)
        raise CommandError(f"{container} does not answer:\n{self.docker('logs', container)}")

    def wait_healthy(self, container: str, seconds: float = PATIENCE) -> None:
        """Wait until a container's HEALTHCHECK passes; CommandError with its log if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.inspect(container)["State"]
            if state.get("Health", {}).get("Status") == "healthy":
                return
            if not state["Running"]:
                break
            time.sleep(0.5)  # each `inspect` costs a tenth of that in CPU time
        raise CommandError(f"{container} did not become healthy: {state}\n{self.docker('logs', container)}")


def make_project(copie: Copie, engine: Engine, combination: Combination) -> Project:
    """Render a combination, and remove containers and volumes that a killed run left behind."""
    project = render_project(copie, engine, combination)
    project.compose(*DOWN)
    return project


def render_project(copie: Copie, engine: Engine, combination: Combination, template: Path | None = None) -> Project:
    """Render a combination into a git repository of its own, from `template` or else from this repository."""
    result = copie.copy(extra_answers=combination.data, template_dir=template)
    assert result.exception is None, f"{combination.name}: {result.exception!r}"
    assert result.project_dir
    assert result.answers == combination.data
    git("init", "--quiet", "--initial-branch", "main", at=result.project_dir)
    commit_all(result.project_dir)
    return own_project(result.project_dir, combination, engine)


def own_project(path: Path, combination: Combination, engine: Engine) -> Project:
    """Return the rendered project in `path`, owned by an unprivileged user."""
    project = Project(path, combination, engine, {"PORT": "0"})
    project.environment["UV_EXCLUDE_NEWER"] = "false"  # this machine's index may not tell upload times
    if os.getuid() == 0:  # containers write as the owner of these files, and most teams are not root
        subprocess.run(["chown", "--recursive", "1000:1000", project.path], check=True)
        project.environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
    else:  # for releases before 1.0, whose containers write as user 1000 by default
        project.environment |= {"HOST_UID": str(os.getuid()), "HOST_GID": str(os.getgid())}
    return project


def add_app(project: Project, files: dict[str, str]) -> None:
    """Add an app called ledger, made of `files` (path -> text), to a project, as its team would."""
    for name, text in files.items():
        path = project.path / "ledger" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.removeprefix("\n"), encoding="utf-8")
    for name, old, new in (
        ("config/settings.py", '    "accounts",\n', '    "accounts",\n    "ledger",\n'),
        (".dockerignore", "!accounts\n", "!accounts\n!ledger\n"),
    ):
        project.edit(name, old, new)
    settings = project.path / "config" / "settings.py"
    subprocess.run(["chown", "--recursive", "--reference", settings, project.path / "ledger"], check=True)


def add_telemetry(project: Project) -> None:
    """Add the packages that send errors and traces to a project and its locks, as its team would."""
    path = project.path / "pyproject.toml"
    text, found = re.subn(r'(?m)^  # (".+",)$', r"  \1", path.read_text(encoding="utf-8"))
    assert found, "pyproject.toml has no optional packages"
    path.write_text(text, encoding="utf-8")
    compile_locks(project.path)


@contextmanager
def line_added(path: Path, line: str) -> Iterator[None]:
    """Add a line to a file for the duration of the context."""
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}{line}\n", encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


@contextmanager
def reinstalling(project: Project) -> Iterator[None]:
    """Make builds install all packages again. `--no-cache` would empty the package caches of all builds as well."""
    with line_added(project.path / "requirements-build.txt", f"# {time.time_ns()}"):
        yield


def clean_up(project: Project) -> None:
    """Remove a project's containers, volumes and images."""
    project.compose(*DOWN, "--rmi", "local")
    remove_images(project)


def remove_images(project: Project) -> None:
    """Remove a project's images, for production and for development."""
    project.run("sh", "-c", f"docker image rm --force {project.slug} {project.slug}-web {project.slug}-migrate || true")


def credentials(project: Project, key: str) -> dict[str, str]:
    """Return the headers that authenticate as a user, from the key that SIGN_IN printed."""
    if project.combination.answers["use_drf"]:
        return {"Authorization": f"Token {key.strip()}"}
    token = "c" * 32
    return {"Cookie": f"sessionid={key.strip()}; csrftoken={token}", "X-CSRFToken": token}


def until(condition: Callable[[], object], within: float = PATIENCE, every: float = 0.2) -> float:
    """Wait until `condition` holds, checking it `every` so many seconds; return the seconds that it took.

    AssertionError if it does not hold `within` so many seconds. Give that only where the time is what is tested.
    """
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within, f"the condition does not hold after {within} s"
        time.sleep(every)
    return time.monotonic() - start


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    """An HTTP response; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    text: str


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirects: tests check where they lead."""

    def redirect_request(self, *_: Any) -> None:
        return None


def get(url: str, headers: dict[str, str] | None = None, timeout: float = 60, method: str = "GET") -> Answer:
    """Request `url`, and return the response whatever its status; OSError if there is none, or only a part of one."""
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
    try:
        try:
            answer: http.client.HTTPResponse | urllib.error.HTTPError = opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read().decode(errors="replace")
    except http.client.HTTPException as error:  # the server stopped while it answered
        raise ConnectionError(f"{url}: {error!r}") from error
    return Answer(answer.status or 0, {name.lower(): value for name, value in answer.headers.items()}, text)
