"""A project's own checks: its tests and its linters, in the development image."""

from __future__ import annotations

import re

from tests.engine.debian import cache_root
from tests.support.project import Project

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


def passed(said: str) -> int:
    """Return how many tests passed, from pytest's output; AssertionError if fewer than 30 did, or any was skipped."""
    found = re.search(r"(\d+) passed", said)
    assert found, said
    assert int(found[1]) >= 30
    assert "skipped" not in said
    return int(found[1])
