"""The checks that run inside a project, in its development image: its own tests, ours of its plumbing, linters."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engine.debian import cache_root
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.project import Project

OPS = ROOT / "tests" / "ops"
# The tests of the plumbing that take certain answers. The others fit every project.
NEEDS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "test_api.py": lambda answers: answers["use_drf"],
    "test_queue.py": lambda answers: answers["use_celery"],
    "processes/test_errors.py": lambda answers: answers["use_celery"] and answers["database"] == "sqlite",
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


def of_the_plumbing(combination: Combination) -> list[str]:
    """Return the files in tests/ops that fit a combination.

    Those that start processes run for each pair of answers alone. Only covering combinations run them, because no
    other combination with the same code can be first there. telemetry/ needs packages that a project does not have.
    """
    found = [path.relative_to(OPS).as_posix() for path in sorted(OPS.rglob("*.py"))]
    fitting = [name for name in found if name not in NEEDS or NEEDS[name](combination.answers)]
    pairs = combination in matrix.covering_pairs()
    folders = ("telemetry/",) if pairs else ("telemetry/", "processes/")
    return [name for name in fitting if not name.startswith(folders)]


@contextmanager
def plumbing_tests(project: Project) -> Iterator[list[str]]:
    """Yield the `docker run` options that mount the fitting tests in tests/ops beside a project's own.

    They are not copied there: in development the worker and beat would reload.
    """
    mounted = project.path / "tests" / "ops"
    mounted.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        for name in of_the_plumbing(project.combination):
            copy = Path(folder, name)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(OPS / name, copy)
        subprocess.run(["chmod", "--recursive", "a+rX", folder], check=True)
        yield ["--volume", f"{folder}:/app/tests/ops:ro"]
    mounted.rmdir()


def passed(said: str) -> int:
    """Return how many tests passed, from pytest's output; AssertionError if fewer than 70 did, or any was skipped."""
    found = re.search(r"(\d+) passed", said)
    assert found, said
    assert int(found[1]) >= 70
    assert "skipped" not in said
    return int(found[1])
