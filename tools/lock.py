"""Resolve the template's dependencies and write them into it: `make lock`.

The requirements of all combinations are resolved together, universally, to one version each. Each combination is then
resolved within those versions, and the differences become conditions in `template/requirements*.txt.jinja`.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import copier
from packaging.requirements import Requirement

from tests.support.matrix import ROOT, Combination, axes, combinations
from tools.errors import said_plainly

# The lock files and uv's arguments for each: the same as in the generated scripts/packages.sh.
LOCKS = {
    "requirements.txt": ["pyproject.toml"],
    "requirements-dev.txt": ["pyproject.toml", "--group", "dev", "--constraint", "requirements.txt"],
    "requirements-build.txt": ["--group", "build"],
}
Answers = Mapping[str, Any]


def uv_compile(directory: Path, arguments: Iterable[str]) -> None:
    """Run `uv pip compile` in `directory`; RuntimeError with uv's message if it cannot resolve."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--system-certs", *arguments]
    # The result must not depend on the environment that this runs in.
    environment = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "UV_CONSTRAINT"}}
    environment["UV_PYTHON_DOWNLOADS"] = "never"  # any Python here can resolve for any other
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"uv could not resolve {directory.name}:\n{result.stderr}")


def compile_locks(directory: Path, *arguments: str) -> None:
    """Write the three locks of the project in `directory`. Versions that a lock already pins are kept."""
    for lock, sources in LOCKS.items():
        uv_compile(directory, [*sources, "--output-file", lock, *arguments])


def requirements(pyproject: Path) -> set[str]:
    """Return a project's requirements, including those of its dependency groups."""
    document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    return {
        *document["project"]["dependencies"],
        *(each for group in document["dependency-groups"].values() for each in group),
    }


def entries(lock: str) -> tuple[str, list[str]]:
    """Split a lock's text into its heading and its entries, each a package with its hashes."""
    heading, *rest = re.split(r"(?m)^(?=[a-z0-9])", lock)
    return heading, rest


def condition(chosen: list[Answers]) -> str:
    """Return a short Jinja condition that holds for exactly the `chosen` answers of the matrix, "" if they are all."""
    spans = axes()
    points = frozenset(tuple(each[name] for name in spans) for each in chosen)
    orders = itertools.permutations(range(len(spans)))
    names = list(spans)
    found = (
        _condition(
            frozenset(tuple(point[i] for i in order) for point in points), [(names[i], spans[names[i]]) for i in order]
        )
        for order in orders
    )
    return min(found, key=len)


def _condition(points: frozenset[tuple[Any, ...]], spans: list[tuple[str, list[Any]]]) -> str:
    """Return the condition for `points`, whose coordinates are answers to the questions in `spans`, in that order."""
    if not spans:
        return ""
    (name, values), *others = spans
    groups: dict[frozenset[tuple[Any, ...]], list[Any]] = {}
    for value in values:
        rest = frozenset(point[1:] for point in points if point[0] == value)
        groups.setdefault(rest, []).append(value)
    if len(groups) == 1:  # the question makes no difference
        return _condition(next(iter(groups)), others)
    parts = [(term(name, answers), _condition(rest, others)) for rest, answers in groups.items() if rest]
    if len(parts) == len(groups) == 2 and not all(more for _, more in parts):  # a or (not a and b) is a or b
        parts = [(of, "") if not more else (more, "") for of, more in sorted(parts, key=lambda part: bool(part[1]))]
    texts = [" and ".join([of, f"({more})" if " or " in more else more]) if more else of for of, more in parts]
    return texts[0] if len(texts) == 1 else " or ".join(f"({each})" if " and " in each else each for each in texts)


def term(name: str, values: list[Any]) -> str:
    """Return the Jinja condition that the answer to `name` is one of `values`."""
    if len(values) == 1 and isinstance(values[0], bool):  # the type matters, because 1 == True
        return name if values[0] else f"not {name}"
    return f"{name} == {values[0]!r}" if len(values) == 1 else f"{name} in {tuple(values)!r}"


def template_of(locks: list[tuple[Combination, str]]) -> str:
    """Return one Jinja template that renders each combination's own lock."""
    heading = entries(locks[0][1])[0]
    users: dict[str, list[Answers]] = {}
    for combination, lock in locks:
        for entry in entries(lock)[1]:
            users.setdefault(entry, []).append(combination.answers)
    text, current = heading, ""
    for entry in sorted(users, key=lambda entry: (re.split(r"[=\s]", entry)[0], entry)):
        wanted = condition(users[entry])
        if wanted != current:
            text += ("{% endif %}\n" if current else "") + (f"{{% if {wanted} %}}\n" if wanted else "")
            current = wanted
        text += entry
    return text + ("{% endif %}\n" if current else "")


def main() -> None:
    """Resolve everything and write the template's lock files."""
    template = ROOT / "template"
    with tempfile.TemporaryDirectory() as folder:
        for lock in LOCKS:  # the first render needs them to exist
            (template / f"{lock}.jinja").touch()
        projects: dict[Path, Combination] = {}
        for combination in combinations():
            project = Path(folder) / combination.name
            copier.run_copy(str(ROOT), project, data=combination.data, vcs_ref="HEAD", quiet=True)
            projects[project] = combination
        wanted = set().union(*(requirements(project / "pyproject.toml") for project in projects))
        first = tomllib.loads((next(iter(projects)) / "pyproject.toml").read_text(encoding="utf-8"))
        pins = Path(folder) / "pins.txt"
        everything = Path(folder) / "everything.in"
        everything.write_text("\n".join(sorted(wanted)), encoding="utf-8")
        oldest = axes()["python_version"][0]
        uv_compile(
            Path(folder),
            [
                everything.name,
                "--universal",
                "--python-version",
                oldest,
                "--no-annotate",
                "--no-header",
                "--exclude-newer",
                first["tool"]["uv"]["exclude-newer"],
                "-o",
                pins.name,
            ],
        )
        names = [Requirement(line).name for line in pins.read_text(encoding="utf-8").splitlines()]
        if twice := {name for name in names if names.count(name) > 1}:
            raise RuntimeError(f"No single version serves every Python for: {', '.join(sorted(twice))}.")
        done: dict[str, Path] = {}  # many combinations have the same requirements
        locks: dict[str, list[tuple[Combination, str]]] = {lock: [] for lock in LOCKS}
        for project, combination in projects.items():
            asked = (project / "pyproject.toml").read_text(encoding="utf-8")
            asked = re.sub(r"(?m)^(name|description) = .*\n", "", asked)
            if asked not in done:
                print(f"resolving {combination.name}", file=sys.stderr)
                for lock in LOCKS:
                    (project / lock).unlink()
                compile_locks(project, "--constraint", str(pins))
                done[asked] = project
            for lock in LOCKS:
                locks[lock].append((combination, (done[asked] / lock).read_text(encoding="utf-8")))
        for lock, texts in locks.items():
            new = template / f"{lock}.new"
            try:
                new.write_text(template_of(texts), encoding="utf-8")
                new.replace(template / f"{lock}.jinja")  # whole, also if the disk is full
            finally:
                new.unlink(missing_ok=True)


if __name__ == "__main__":
    with said_plainly(RuntimeError):
        main()
