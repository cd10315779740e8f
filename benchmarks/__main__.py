"""Measure sizes and times against the budgets: `make benchmark`.

Times are medians of RUNS on this machine: compare them within a run, not between machines. A missed budget is
shown, but is not an error: hard limits are in the tests.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import copier

from tests.engine import ensure_engine, ensure_image, stop_engine
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.project import CommandError, Project, clean_up, remove_images
from tests.support.releases import clone_with_releases, commit_all, git, known, releases
from tools.errors import said_plainly

RUNS = 5
REFERENCE = "py3.14-postgres-drf-multi"


def seconds(action: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Return the median time of `action` in seconds; `before` runs ahead of each `action` and is not counted."""
    times = []
    for _ in range(RUNS):
        before()
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Bench:
    """Projects to measure, rendered into one temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = ensure_engine()

    def project(self, name: str) -> Project:
        """Render a combination under a name that no other project has, and make its base images available."""
        origin = matrix.combination(name)
        combination = Combination(f"bench-{name}", origin.answers)
        path = self.folder / combination.slug
        copier.run_copy(str(ROOT), path, data=combination.data, vcs_ref="HEAD", quiet=True, overwrite=True)
        for image in matrix.images(combination):
            ensure_image(self.engine, image)
        return Project(path, combination, self.engine, {"PORT": "0"})

    def added(self, name: str) -> float:
        """Return what a combination's image adds to its base, in MB."""
        project = self.project(name)
        try:
            project.docker("build", "--quiet", "--tag", project.slug, ".")
            base = project.inspect(matrix.images(project.combination)[0])["Size"]
            return float(project.inspect(project.slug)["Size"] - base) / 1e6
        finally:
            remove_images(project)


def main() -> None:
    """Measure, and print a table."""
    rows: list[tuple[str, float, float, str]] = []

    def row(what: str, figure: float, budget: float, unit: str) -> None:
        rows.append((what, figure, budget, unit))
        print(f"{what}: {figure:.2f} {unit} (budget {budget:g})", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bench = Bench(Path(folder))
        if bench.engine.started:
            stack.callback(stop_engine)
        data = matrix.combination(REFERENCE).data
        target = Path(folder) / "render"

        def render() -> None:
            copier.run_copy(str(ROOT), target, data=data, vcs_ref="HEAD", quiet=True, overwrite=True)

        row("render in process", seconds(render), 0.5, "s")

        template = clone_with_releases(Path(folder) / "template")
        team = Path(folder) / "team"
        oldest = next(iter(releases()))
        copier.run_copy(str(template), team, data=known(template, oldest, data), vcs_ref=oldest, quiet=True)
        git("init", "--quiet", at=team)
        commit_all(team)
        update = seconds(
            lambda: copier.run_update(team, vcs_ref="HEAD", defaults=True, overwrite=True, quiet=True),
            lambda: git("reset", "--quiet", "--hard", at=team),
        )
        row("`copier update` from the oldest release, in process", update, 3, "s")
        row(f"added by {REFERENCE}", bench.added(REFERENCE), 80, "MB")

        project = bench.project(REFERENCE)
        stack.callback(clean_up, project)
        build = ["build", "--quiet", "--tag", project.slug]
        project.docker(*build, ".")
        row(
            "cold build of the layers, warm package caches",
            seconds(lambda: project.docker(*build, "--no-cache", ".")),
            8,
            "s",
        )
        project.docker(*build, ".")
        view = project.path / "config" / "views.py"
        lock = project.path / "requirements.txt"

        def edit(path: Path) -> Callable[[], object]:
            return lambda: path.write_text(f"{path.read_text()}# {time.time_ns()}\n")

        code = seconds(lambda: project.docker(*build, "."), edit(view))
        row("rebuild after an edit to a view", code, 0.6, "s")
        row("rebuild after an edit to the lock", seconds(lambda: project.docker(*build, "."), edit(lock)), 4.5, "s")

        for database in ("sqlite", "postgres"):
            multi, single = (bench.added(f"py3.14-{database}-drf-{stages}") for stages in ("multi", "single"))
            row(f"{database}: added in a single stage, to multi-stage", single / multi, 1.1, "x")

        sqlite = bench.project("py3.14-sqlite-drf-multi")
        stack.callback(clean_up, sqlite)
        sqlite.compose("build")
        up = seconds(
            lambda: sqlite.compose("up", "--detach", "--wait"),
            lambda: sqlite.compose("down", "--volumes", "--timeout", "1"),
        )
        row("`docker compose up --wait` of SQLite, image built", up, 5, "s")

    print("| what | measured | budget | |\n|---|---|---|---|")
    for what, figure, budget, unit in rows:
        print(f"| {what} | {figure:.2f} {unit} | {budget:g} {unit} | {'met' if figure <= budget else 'NOT MET'} |")


if __name__ == "__main__":
    with said_plainly(CommandError):
        main()
