"""The checks that run inside a project, in its development image: its own tests, ours of its plumbing, linters."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engine.debian import cache_root
from tests.engine.engine import locked
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.project import Project
from tools import lock

OPS = ROOT / "tests" / "ops"
# The tests of the plumbing that take certain answers. The others fit every project.
NEEDS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "test_api.py": lambda answers: answers["use_drf"],
    "test_queue.py": lambda answers: answers["use_celery"],
    "processes/test_errors.py": lambda answers: answers["use_celery"] and answers["database"] == "sqlite",
    "processes/test_serve.py": lambda answers: not answers["use_celery"],
    "processes/test_worker.py": lambda answers: answers["use_celery"],
    "test_server.py": lambda answers: answers["database"] != "sqlite",
    "test_pool.py": lambda answers: answers["database"] == "postgres",
    "test_sqlite_lock.py": lambda answers: answers["database"] == "sqlite",
}

TESTS = "pytest -q -p no:cacheprovider"
# Later combinations and later runs reuse mypy's cache; the lock admits one writer at a time.
MYPY = "flock /tmp/mypy/lock mypy --cache-dir=/tmp/mypy ."
RUFF = "ruff check --no-cache; ruff format --no-cache --check"


def mypy_volume(project: Project) -> list[str]:
    """Return the `docker run` options that mount mypy's cache for one Python version and one set of packages."""
    answers = project.combination.answers
    name = "-".join(str(answers[question]) for question in ("python_version", "use_drf", "use_celery"))
    known = cache_root() / "mypy" / name
    known.mkdir(parents=True, exist_ok=True)
    known.chmod(0o777)  # for the container's user
    return ["--volume", f"{known}:/tmp/mypy"]


def of_the_plumbing(combination: Combination, *, every: bool = False) -> list[str]:
    """Return the files in tests/ops that fit a combination, if it is one of those that contain each pair of answers.

    With `every`, also for the others, without those that start processes. telemetry/ needs packages that projects lack.
    """
    pairs = combination in matrix.covering_pairs()
    if not (pairs or every):
        return []
    found = [path.relative_to(OPS).as_posix() for path in sorted(OPS.rglob("*.py"))]
    fitting = [name for name in found if name not in NEEDS or NEEDS[name](combination.answers)]
    folders = ("telemetry/",) if pairs else ("telemetry/", "processes/")
    return [name for name in fitting if not name.startswith(folders)]


@contextmanager
def plumbing_tests(project: Project, *, every: bool) -> Iterator[list[str]]:
    """Yield the `docker run` options that mount the fitting tests in tests/ops beside a project's own, if any are due.

    They are not copied there: in development the worker and beat would reload.
    """
    mounted = project.path / "tests" / "ops"
    mounted.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        for name in of_the_plumbing(project.combination, every=every):
            copy = Path(folder, name)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(OPS / name, copy)
        subprocess.run(["chmod", "--recursive", "a+rX", folder], check=True)
        yield ["--volume", f"{folder}:/app/tests/ops:ro"]
    mounted.rmdir()


def development_packages(project: Project) -> list[str]:
    """Return the `docker run` options that add the development packages to a production image.

    They are installed once for each Python version and each set of packages, on the host, with the hashes of the lock.
    CommandError if that fails.
    """
    production, development = (
        set(lock.entries((project.path / name).read_text(encoding="utf-8"))[1])
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    text = "".join(sorted(_without_origin(development) - _without_origin(production)))
    version = project.combination.answers["python_version"]
    folder = cache_root() / "development" / hashlib.sha256(f"{version}\n{text}".encode()).hexdigest()[:16]
    with locked(f"development-{folder.name}"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache_root()) as name:
                Path(name, "lock.txt").write_text(text, encoding="utf-8")
                target = Path(name, "packages")
                options = ("--target", target, "--python-version", version, "--require-hashes", "--no-deps", "--quiet")
                project.run(
                    sys.executable,
                    "-m",
                    "uv",
                    "pip",
                    "install",
                    *map(str, options),
                    "--requirement",
                    f"{name}/lock.txt",
                )
                compileall = ("python", "-m", "compileall", "-q", "-j", "0", "/packages")
                project.docker(
                    "run", "--rm", "--user", "0", "--volume", f"{target}:/packages", project.slug, *compileall
                )
                folder.parent.mkdir(exist_ok=True)
                target.rename(folder)
    path = "/packages/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
    return ["--volume", f"{folder}:/packages:ro", "--env", "PYTHONPATH=/packages", "--env", f"PATH={path}"]


def _without_origin(entries: set[str]) -> set[str]:
    """Return entries of a lock without the comments that name what requires them."""
    return {re.sub(r"(?m)^ *#.*\n", "", entry) for entry in entries}


def passed(said: str, least: int = 20) -> int:
    """Return how many tests passed, from pytest's output; AssertionError if fewer than `least` did, or any was skipped.

    A project has 20 of its own; with ours of the plumbing, it has 70.
    """
    found = re.search(r"(\d+) passed", said)
    assert found, said
    assert int(found[1]) >= least
    assert "skipped" not in said
    return int(found[1])
