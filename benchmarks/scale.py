"""How a project's times grow with its apps, models, migrations and static files, and the template's with its own."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import copier

from benchmarks.measure import TELLING, Bench, answered, as_before, edit, running, timed
from tests.support.project import Project, clean_up, until
from tests.support.releases import clone_with_releases, commit_all, git, known, releases
from tests.support.servers import Site

RUNS = 3
SQLITE = TELLING[0]  # at start it also migrates
MODEL = """

class {name}(models.Model):
{fields}
"""
CREATE = """        migrations.CreateModel(
            name="{name}",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=50)),
            ],
        ),
"""
ADD = """        migrations.AddField("{name}", "field_{number}", models.IntegerField(null=True)),
"""
MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    initial = {initial}
    dependencies = {dependencies}
    operations = [
{operations}    ]
"""
NAME = "    name = models.CharField(max_length=50)"


def app(name: str, models: dict[str, str], migrations: list[str]) -> dict[str, str]:
    """Return the files of an app with models (name -> fields), and with a migration for each text of operations."""
    classes = "".join(MODEL.format(name=model, fields=fields) for model, fields in models.items())
    files = {"__init__.py": "", "migrations/__init__.py": "", "models.py": f"from django.db import models\n{classes}"}
    for number, operations in enumerate(migrations):
        dependencies = [(name, f"{number - 1:04}_change")] if number else []
        files[f"migrations/{number:04}_change.py"] = MIGRATION.format(
            initial=not number, dependencies=dependencies, operations=operations
        )
    return {f"{name}/{file}": text for file, text in files.items()}


def apps(count: int) -> dict[str, str]:
    """Return the files of so many apps, each with a model and a migration."""
    each = [app(f"app_{number:04}", {"Ship": NAME}, [CREATE.format(name="Ship")]) for number in range(count)]
    return {name: text for files in each for name, text in files.items()}


def models(count: int) -> dict[str, str]:
    """Return the files of an app with so many models, in one migration."""
    names = [f"Ship{number:04}" for number in range(count)]
    return app("app_0000", dict.fromkeys(names, NAME), ["".join(CREATE.format(name=name) for name in names)])


def migrations(count: int) -> dict[str, str]:
    """Return the files of an app with so many migrations: each tenth creates a model, the others add a column to it."""
    names = [f"Ship{number // 10:03}" for number in range(count)]
    texts = [ADD.format(name=name, number=number) for number, name in enumerate(names)]
    texts[::10] = [CREATE.format(name=name) for name in names[::10]]
    fields = {name: [NAME] for name in names}
    for number, name in enumerate(names):
        if number % 10:
            fields[name].append(f"    field_{number} = models.IntegerField(null=True)")
    return app("app_0000", {name: "\n".join(own) for name, own in fields.items()}, texts)


def static_files(count: int) -> dict[str, str]:
    """Return so many style sheets of 2 kB, which load a picture."""
    rules = "".join(f".part-{number} {{ margin: {number}px }}\n" for number in range(80))
    picture = 'body { background: url("../favicon.svg") }\n'
    return {f"static/scale/{number}.css": f"{picture}{rules}/* {number} */\n" for number in range(count)}


KINDS = {"apps": apps, "static files": static_files, "models": models, "migrations": migrations}
BRIEF = ("apps", "static files")  # what `make benchmark` adds beside all else


@dataclass
class Growth:
    """What some action takes with 0, 10, 100 ... more of something."""

    kind: str
    what: str
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def each(self, count: int) -> float:
        """Return the milliseconds that each of so many adds."""
        return (statistics.median(self.seconds[count]) - statistics.median(self.seconds[0])) / count * 1000


def grow(project: Project, files: dict[str, str]) -> None:
    """Put a project back to its commit, and add files, with a line for each app where one has to be."""
    as_before(project.path)
    for name, text in files.items():
        path = project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    new = [name.removesuffix("/models.py") for name in files if name.endswith("/models.py")]
    project.edit("config/settings.py", '    "accounts",\n', "".join(f'    "{name}",\n' for name in ["accounts", *new]))
    project.edit(".dockerignore", "!accounts\n", "".join(f"!{name}\n" for name in ["accounts", *new]))
    subprocess.run(["chown", "--recursive", "--reference", project.path, "."], cwd=project.path, check=True)


def measure(project: Project, runs: int = RUNS) -> Iterator[tuple[str, list[float]]]:
    """Yield what a project takes to be built after an edit, to start and to be tested."""

    def build() -> None:
        project.docker("build", "--quiet", "--tag", project.slug, ".")

    build()
    yield "build after an edit of a view", timed(build, edit(project.path / "config" / "views.py"), runs)
    yield "build after an edit of a style sheet", timed(build, edit(project.path / "static" / "site.css"), runs)
    with running(project) as site:
        yield "from `docker run` to the first 200", timed(lambda: first(site), lambda: remove(site), runs)
    yield "`make test`", timed(lambda: project.run("make", "test"), runs=runs)


def remove(site: Site) -> None:
    """Remove a site's container."""
    site.project.docker("rm", "--force", site.containers["web"])


def first(site: Site) -> None:
    """Start a site's container, and wait for its first answer."""
    options = ("--detach", "--no-healthcheck", "--publish", "127.0.0.1:0:8000")
    site.run("web", site.project.slug, options=options)
    address = site.project.address(site.containers["web"])
    until(lambda: answered(f"{address}/"), 600, every=0.01)


def scale(bench: Bench, kinds: Iterable[str], sizes: tuple[int, ...]) -> list[Growth]:
    """Measure a project with so many more of these kinds, and the template with so many more choices and releases."""
    project = bench.project(SQLITE)
    found: dict[tuple[str, str], Growth] = {}
    try:
        project.compose("build")
        grow(project, {})
        base = list(measure(project))
        for kind in kinds:
            for what, runs in base:
                found[kind, what] = Growth(kind, what, {0: runs})
            for size in sizes:
                grow(project, KINDS[kind](size))
                for what, runs in measure(project, RUNS if size < 1000 else 1):
                    found[kind, what].seconds[size] = runs
                    print(f"{size} {kind}: {what}: {statistics.median(runs):.2f} s", file=sys.stderr, flush=True)
    finally:
        clean_up(project)
    return [*found.values(), *template(bench.folder, project, sizes)]


def template(folder: Path, project: Project, sizes: tuple[int, ...]) -> list[Growth]:
    """Measure a render and the choice of covering combinations with more choices, and an update with more releases."""
    render = Growth("choices of a question", "render")
    cover = Growth("choices of a question", "choose the covering combinations")
    update = Growth("releases", "`copier update`")
    always: dict[str, Any] = {"vcs_ref": "HEAD", "quiet": True, "overwrite": True}
    data, oldest = project.combination.data, next(iter(releases()))
    for size in (0, *sizes):
        clone = clone_with_releases(folder / f"more-{size}")
        tree = git("rev-parse", "HEAD^{tree}", at=clone)
        for number in range(size):
            commit = git("commit-tree", tree, "-p", "HEAD", "-m", f"Release {number}", at=clone)
            git("reset", "--quiet", "--soft", commit, at=clone)
            git("tag", f"v9.{number}.0", at=clone)
        team = folder / f"team-{size}"
        copier.run_copy(str(clone), team, data=known(clone, oldest, data), vcs_ref=oldest, quiet=True)
        git("init", "--quiet", at=team)
        commit_all(team)
        update.seconds[size] = timed(
            partial(copier.run_update, team, defaults=True, **always), partial(as_before, team), RUNS
        )
        questions = (clone / "copier.yml").read_text(encoding="utf-8")
        more = "".join(f'    - "4.{number}"\n' for number in range(size))
        (clone / "copier.yml").write_text(
            questions.replace('    - "3.14"\n', f'    - "3.14"\n{more}'), encoding="utf-8"
        )
        commit_all(clone)
        target = folder / f"render-{size}"
        render.seconds[size] = timed(partial(copier.run_copy, str(clone), target, data=data, **always), runs=RUNS)
        command = (sys.executable, "-c", "from tests.support import matrix; matrix.covering()")
        cover.seconds[size] = timed(partial(subprocess.run, command, cwd=clone, check=True), runs=RUNS)
    return [render, cover, update]


def table(growths: list[Growth]) -> str:
    """Return what grew, in seconds, and how many milliseconds each added one costs."""
    sizes = list(growths[0].seconds)
    more = sizes[1:]
    heads = [*("added", "time of"), *(f"{size:,}" for size in sizes), *(f"ms each of {size:,}" for size in more)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for growth in growths:
        times = [f"{statistics.median(growth.seconds[size]):.2f} s" for size in sizes]
        lines.append(f"| {' | '.join([growth.kind, growth.what, *times, *(f'{growth.each(n):.1f}' for n in more)])} |")
    return "\n".join(lines) + "\n"
