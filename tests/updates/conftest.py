"""Templates with releases to come, and their projects."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import matrix
from tests.support.releases import git
from tests.support.updates import append, release, render


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in memory if possible: an update creates and removes thousands of small files."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="slipway-", dir=shared) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)  # Copier's own
        yield Path(folder)


@pytest.fixture
def newer(template: Path, tmp_path: Path) -> Path:
    """A template with two more releases: the current state, and one that adds a line to the end of a file."""
    folder = tmp_path / "newer"
    git("clone", "--quiet", str(template), str(folder), at=tmp_path)
    release(folder, "v98.0.0")  # a separate commit, because the current one may already have a tag
    append(folder / "template" / ".gitignore.jinja", "*.new\n")
    release(folder, "v99.0.0")
    return folder


@pytest.fixture
def clone(newer: Path, tmp_path: Path) -> Path:
    """A project of that template's second newest release."""
    return render(newer, tmp_path / "project", matrix.default_combination().data, "v98.0.0")
