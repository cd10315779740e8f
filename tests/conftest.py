"""One render per combination, shared by all that is tested of it; progress, and the table at the end."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_copie.plugin import Copie
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests import matrix, releases
from tests.engine import Engine, EngineError, ensure_engine, ensure_image, stop_engine
from tests.matrix import ROOT, Combination
from tests.project import Project

REPORT = ROOT / "reports" / "matrix.md"


# --- which combinations ------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--only` and `--shard`, which `make test only=NAME` and `make test shard=1/8` pass on."""
    parser.addoption("--only", metavar="NAME", help="test one combination alone, such as py3.14-postgres-drf-multi")
    parser.addoption("--shard", metavar="1/8", type=shard, default="1/1", help="run the first of eight parts alone")


def in_shard(nodeids: list[str], part: int, parts: int) -> set[str]:
    """Return the tests of one part out of several. What belongs together stays together."""
    scopes = list(dict.fromkeys(map(scope_of, nodeids)))
    mine = set(scopes[part - 1 :: parts])
    return {nodeid for nodeid in nodeids if scope_of(nodeid) in mine}


def shard(text: str) -> tuple[int, int]:
    """Read 1/8 as (1, 8); ArgumentTypeError with a sentence if it is none."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ArgumentTypeError(f"{text!r} is no shard: write 1/8 for the first of eight")
    return int(part), int(parts)


def selected(config: pytest.Config) -> list[Combination]:
    """Return the combinations to test."""
    only = config.getoption("--only")
    try:
        return [matrix.combination(only)] if only else list(matrix.combinations())
    except LookupError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a `project`, or for a `combination` without one, each combination in turn."""
    for name in {"project", "combination"} & {*metafunc.fixturenames}:
        chosen = selected(metafunc.config)
        ids = [each.name for each in chosen]
        metafunc.parametrize(name, chosen, ids=ids, indirect=name == "project", scope="session")


# What mostly waits, and what one worker alone is at for minutes.
SLOW = {
    *("test_backup", "test_kubernetes", "test_production", "test_publish", "test_swarm", "test_tasks", "test_updated"),
    "test_workflow",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not asked for, and begin with what mostly waits."""
    if config.getoption("--only"):
        items[:] = [item for item in items if combination_of(item.nodeid)]
    items.sort(key=lambda item: item.path.stem not in SLOW)
    mine = in_shard([item.nodeid for item in items], *config.getoption("--shard"))
    items[:] = [item for item in items if item.nodeid in mine]


# Modules that set up a project for each of their first parameters, and share nothing between them.
BY_PARAMETER = {"test_backup", "test_kubernetes", "test_production", "test_update", "test_updated", "test_workflow"}


class ByCombination(LoadScopeScheduling):  # type: ignore[misc]
    """Give all tests of one combination to one worker, so that each is rendered and built once."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """Return what a test belongs to: its combination, its module's stack, or its module."""
    module, _, test = nodeid.partition("::")
    if combination := combination_of(nodeid):
        return combination
    if Path(module).stem in BY_PARAMETER:
        return f"{module}[{test.partition('[')[2].rstrip(']').partition('-')[0]}]"
    return module


def combination_of(nodeid: str) -> str | None:
    """Return the name of the combination that a test is about, if it is about one."""
    name = nodeid.rpartition("[")[2].rstrip("]") if nodeid.endswith("]") else ""
    return name if name in _NAMES else None


_NAMES = {each.name for each in matrix.combinations()}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByCombination:
    """Tell pytest-xdist how to spread the tests."""
    return ByCombination(config, log)


# --- the engine and its images -----------------------------------------------------------------------------------


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have an engine and the base images before the first test, and say which they are."""
    os.environ["COPIER_SETTINGS_PATH"] = os.devnull  # a developer's own settings would change the answers
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    try:
        engine = ensure_engine()
        session.config.stash[_ENGINE] = engine
        leave_swarm(engine)  # one that a killed run left
        images = [str(ensure_image(engine, name)) for name in needed_images(session.config)]
    except EngineError as error:
        pytest.exit(str(error), returncode=1)
    session.config.stash[_IMAGES] = list(dict.fromkeys(images))


_ENGINE = pytest.StashKey[Engine]()
_IMAGES = pytest.StashKey[list[str]]()


def needed_images(config: pytest.Config) -> list[str]:
    """Return the images that the selected combinations start from."""
    return list(dict.fromkeys(name for each in selected(config) for name in matrix.images(each)))


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that everything runs on."""
    return ensure_engine()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with its releases, as a project finds it."""
    return releases.clone_with_releases(tmp_path_factory.mktemp("template") / "slipway")


# --- a project ---------------------------------------------------------------------------------------------------


def make_project(copie: Copie, engine: Engine, combination: Combination) -> Project:
    """Render a combination as its user would have it: in git, with the answers that were asked for."""
    result = copie.copy(extra_answers=combination.data)
    assert result.exception is None, f"{combination.name}: {result.exception!r}"
    assert result.project_dir
    assert result.answers == combination.data
    releases.git("init", "--quiet", "--initial-branch", "main", at=result.project_dir)
    releases.commit_all(result.project_dir)
    return own_project(result.project_dir, combination, engine)


def own_project(path: Path, combination: Combination, engine: Engine) -> Project:
    """Return the rendered project in `path` as one that belongs to a user without rights."""
    project = Project(path, combination, engine, {"PORT": "0", "HOST_UID": "1000", "HOST_GID": "1000"})
    if os.getuid() == 0:  # containers write as a user without rights, whose files these then are
        subprocess.run(["chown", "--recursive", "1000:1000", project.path], check=True)
        project.environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
    else:
        project.environment |= {"HOST_UID": str(os.getuid()), "HOST_GID": str(os.getgid())}
    # A run that was killed left its data behind, and nothing here may start with it.
    project.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
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


def clean_up(project: Project) -> None:
    """Remove a project's containers, volumes and images."""
    project.compose("down", "--volumes", "--remove-orphans", "--timeout", "1", "--rmi", "local")
    project.run("sh", "-c", f"docker image rm --force {project.slug} {project.slug}-web || true")


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest, copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """The combination's project, rendered once for all of its tests."""
    made = make_project(copie_session, engine, request.param)
    yield made
    clean_up(made)


CANARY = "canary-7f3a9c"
# Files that lie about in a working folder, and must not get into an image.
PLANTED = (
    ".env",
    "production.env",
    "db.sqlite3",
    ".venv/canary.py",
    "config/.env",
    "backup.sql",
)


@pytest.fixture(scope="session")
def built(project: Project) -> dict[str, Any]:
    """The production image, built in a folder full of things that must not get into it: its inspection, and seconds."""
    planted = [project.path / name for name in PLANTED]
    if project.database == "sqlite":
        planted.append(project.path / "accounts" / "db.sqlite3")
    for path in planted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"SECRET_KEY={CANARY}\n", encoding="utf-8")
    start = time.monotonic()
    try:
        project.docker("build", "--quiet", "--tag", project.slug, ".")
    finally:
        for path in planted:
            path.unlink()
    return {"seconds": time.monotonic() - start, **project.inspect(project.slug)}


@pytest.fixture
def checked_before(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bool]:
    """Tell whether an earlier combination had the very same files, and has been checked: `checked_before("*.py")`.

    The Dockerfile's form makes no difference to Python's code, for one. The project's own names are left out.
    """

    def ask(*patterns: str) -> bool:
        files = sorted(path for pattern in patterns for path in project.path.rglob(pattern))
        content = "".join(f"{path.relative_to(project.path)}\n{path.read_text(encoding='utf-8')}" for path in files)
        content = re.sub(f"{re.escape(project.combination.name)}|{re.escape(project.slug)}", "", content)
        folder = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            folder = folder.parent  # the workers share it
        try:
            (folder / hashlib.sha256(repr((patterns, content)).encode()).hexdigest()).touch(exist_ok=False)
        except FileExistsError:
            return True
        return False

    return ask


# --- what is shown -----------------------------------------------------------------------------------------------

_rows: dict[str, dict[str, str]] = {}
_elsewhere: dict[str, None] = {}
_left: Counter[str] = Counter()
_failed: set[str] = set()
_started = time.monotonic()
_interrupted = False


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Any:
    """Note a figure for the table: `record("build", "3.1 s")`; as "elsewhere", what could not be proved here."""

    def note(column: str, value: str) -> None:
        request.node.user_properties.append((column, value))

    return note


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count each combination's tests, so as to tell when it is done."""
    _left.update(name for item in session.items if (name := combination_of(item.nodeid)))


def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """The same, where workers collect."""
    if not _left:
        _left.update(name for nodeid in ids if (name := combination_of(nodeid)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the figures, and print a line for each combination that is done."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    name = combination_of(report.nodeid)
    if report.failed:
        tail = "\n".join(report.longreprtext.splitlines()[-12:])
        print(f"\n{report.nodeid} failed:\n{tail}", flush=True)  # now, not when all the others are done
    if report.when == "call":
        _elsewhere.update({str(value): None for column, value in report.user_properties if column == "elsewhere"})
    if not name:
        return
    _rows.setdefault(name, {})
    if report.failed:
        _failed.add(name)
    if report.when == "call":
        _rows[name].update({str(column): str(value) for column, value in report.user_properties})
    if report.when == "teardown":
        _left[name] -= 1
        if _left[name] == 0:
            done = sum(1 for count in _left.values() if count == 0)
            verdict = "FAILED" if name in _failed else "ok"
            figures = ", ".join(f"{column} {value}" for column, value in _rows[name].items())
            clock = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - _started))
            print(f"\n{clock} [{done}/{len(_left)}] {name}: {verdict}; {figures}", flush=True)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the matrix, and write it as a file; say which images were stand-ins."""
    images = config.stash.get(_IMAGES, [])
    lines = [f"- {line}" for line in images]
    order = [name for name in (each.name for each in matrix.combinations()) if name in _rows]
    columns = list(dict.fromkeys(column for name in order for column in _rows[name]))
    if order:
        lines += ["", f"| combination | result | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
        for name in order:
            cells = [_rows[name].get(column, "") for column in columns]
            lines.append(f"| {name} | {'FAILED' if name in _failed else 'ok'} | {' | '.join(cells)} |")
    if _elsewhere:
        lines += ["", "Not proved here:", "", *(f"- {line}" for line in _elsewhere)]
    if lines:
        terminalreporter.section("images and combinations")
        terminalreporter.write_line("\n".join(lines))
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[KeyboardInterrupt]) -> None:
    """Remember that the tests could not clean up after themselves."""
    global _interrupted
    _interrupted = True


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing running, also when interrupted: neither an engine that was started for this, nor a container."""
    engine = config.stash.get(_ENGINE, None)
    if not engine:
        return
    if _interrupted and not engine.started:
        sweep(engine, [each.slug for each in selected(config)], alone=bool(config.getoption("--only")))
    leave_swarm(engine)
    if engine.started:
        stop_engine()


def join_swarm(engine: Engine) -> None:
    """Make this machine a Swarm of its own, until the tests are done."""
    for command in (
        "docker swarm init --advertise-addr 127.0.0.1",
        "docker node update --label-add slipway-tests $(docker node ls --quiet)",
    ):
        subprocess.run(["sh", "-c", command], env=engine.env, check=True, capture_output=True)


def leave_swarm(engine: Engine) -> None:
    """End the Swarm that `join_swarm` made, if any, unless containers run outside it: of another run, say.

    Docker would forget their names, and they would find each other no more.
    """
    inspect = ["docker", "node", "inspect", "self", "--format", "{{json .Spec.Labels}}"]
    labels = subprocess.run(inspect, env=engine.env, capture_output=True, text=True, check=False).stdout
    if "slipway-tests" not in labels:
        return
    services = ["docker", "ps", "--format", '[{{.Label "com.docker.swarm.service.name"}}]']
    if "[]" in subprocess.run(services, env=engine.env, capture_output=True, text=True, check=True).stdout:
        print("The engine stays in the tests' Swarm, for other containers run: docker swarm leave --force ends it")
        return
    subprocess.run(["docker", "swarm", "leave", "--force"], env=engine.env, check=True, capture_output=True)


def swarm_state(engine: Engine) -> str:
    """Return "active" if the engine belongs to a Swarm, "inactive" or another word for trouble if not."""
    info = ["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"]
    return subprocess.run(info, env=engine.env, capture_output=True, text=True, check=True).stdout.strip()


def sweep(engine: Engine, slugs: list[str], *, alone: bool) -> None:
    """Remove the containers, networks and volumes of the projects called `slugs`, and of those beside the matrix.

    With `alone`, only the former: another run may be using the latter.
    """
    beside = (
        []
        if alone
        else [
            r"slipway-(team|tasks|browser|kubernetes|production|publish|swarm|migrate|backup|unusual|updated|demo-test)"
            r"(-[a-z0-9]+)*"
        ]
    )
    ours = re.compile(rf"({'|'.join([*slugs, *beside])})[-_]")
    for kind, options in (("container", ["--all"]), ("network", []), ("volume", [])):
        column = "{{.Names}}" if kind == "container" else "{{.Name}}"
        listing = ["docker", kind, "ls", *options, "--format", column]
        found = subprocess.run(listing, env=engine.env, capture_output=True, text=True, check=False).stdout.split()
        if left := [name for name in found if ours.match(name)]:
            force = [] if kind == "network" else ["--force"]
            subprocess.run(["docker", kind, "rm", *force, *left], env=engine.env, capture_output=True, check=False)
