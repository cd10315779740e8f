"""Updated projects build, boot and pass their tests, also if an answer changes in the update."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.engine import Engine
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.own_checks import MYPY, RUFF, TESTS, mypy_volume
from tests.support.project import Project, clean_up, get, own_project
from tests.support.releases import commit_all, known, releases
from tests.support.rendered import tool
from tests.support.updates import edit, files, render

pytestmark = pytest.mark.rotates(
    seconds=60,
    touched_by=[
        "tests/support/updates.py",
        "hooks/moved.py",
    ],
)


OWNER = "1000:1000"


def sample() -> Iterator[tuple[Combination, str, Any]]:
    """Yield a project for each Python and each database, with varied other answers, and an answer to change in it."""
    questions = ["use_drf", "use_celery", "multi_stage", "database", "python_version"]
    for number, (python, database) in enumerate(
        itertools.product(matrix.choices("python_version"), matrix.choices("database"))
    ):
        answers = {
            "python_version": python,
            "database": database,
            "use_drf": number % 2 == 0,
            "use_celery": number // 2 % 2 == 1,
            "multi_stage": number // 4 % 2 == 1,
        }
        question = questions[number % len(questions)]
        offered = matrix.choices(question)
        after = offered[(offered.index(answers[question]) + 1) % len(offered)]
        yield Combination(f"slipway-updated-{number}", answers), question, after


@pytest.fixture(scope="session")
def locked() -> dict[str, str]:
    """The lines in both locks for the dependencies that the team adds."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--system-certs"]
    command += ["--generate-hashes", "--no-header", "-"]
    added = {"requirements.txt": "humanize>=4", "requirements-dev.txt": "humanize>=4\nfactory-boy>=3"}
    return {
        lock: subprocess.run(command, input=wanted, capture_output=True, text=True, check=True).stdout
        for lock, wanted in added.items()
    }


@pytest.fixture
def team(
    request: pytest.FixtureRequest, template: Path, tmp_path: Path, locked: dict[str, str], engine: Engine
) -> Iterator[Project]:
    """A project of the oldest release, with a team's edits."""
    wanted: Combination = request.param
    oldest = next(iter(releases()))
    data = known(template, oldest, wanted.data)
    combination = Combination(wanted.name, {name: data.get(name, answer) for name, answer in wanted.answers.items()})
    path = render(template, tmp_path / combination.slug, data, oldest)
    edit(path, locked)
    commit_all(path)
    made = own_project(path, combination, engine)
    yield made
    clean_up(made)


def lacking(lock: Path, wanted: list[str]) -> list[str]:
    """Return the packages among the requirements that are `wanted` that a lock does not name."""
    text = lock.read_text(encoding="utf-8")
    packages = [Requirement(each).name for each in wanted]
    return [name for name in packages if not re.search(rf"(?m)^{re.escape(name)}==", text)]


@pytest.mark.parametrize(
    ("team", "question", "answer"),
    list(sample()),
    ids=[f"{question}-{each.name}" for each, question, _ in sample()],
    indirect=["team"],
)
def test_an_updated_project_works(team: Project, question: str, answer: Any) -> None:
    before = files(team.path)
    said = team.run(tool("copier"), "update", "--defaults", "--vcs-ref", "HEAD", "--data", f"{question}={answer}")
    [delete] = re.findall("rm -rf .*", said)
    after = files(team.path)
    # The update lists what is left to do, and nothing else.
    lock_is_stale = before["pyproject.toml"] != after["pyproject.toml"]
    assert "git diff --quiet HEAD pyproject.toml || make lock" in said, said
    drf = answer if question == "use_drf" else team.combination.answers["use_drf"]  # its tokens have a new table
    assert ("tables have changed" in said) == (drf and question != "database"), said
    assert ("starts empty" in said) == (question == "database"), said
    assert "has moved from config/ to ops/" in said
    team.run("chown", "--recursive", OWNER, ".")
    commit_all(team.path)
    pyproject = tomllib.loads((team.path / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"requirements.txt": pyproject["project"]["dependencies"]}
    needed["requirements-dev.txt"] = [*needed["requirements.txt"], *pyproject["dependency-groups"]["dev"]]
    if not (answer if question == "multi_stage" else team.combination.answers["multi_stage"]):
        del needed["requirements.txt"]  # a single stage installs one lock
    unfit = [name for name, wanted in needed.items() if lacking(team.path / name, wanted)]
    if unfit:
        said = team.docker("build", "--build-arg", "REQUIREMENTS=requirements-dev.txt", ".", fails=True)
        reason = "does not fit pyproject.toml: "
        if question == "database":  # the driver of the one before may have to be compiled, which fails earlier
            reason += "|failed: mysqlclient.* must be compiled.* or "
        assert re.search(f"{unfit[0]} ({reason})run `make lock`", said), said
    if lock_is_stale:
        team.run("make", "lock")
    team.compose("up", "--build", "--detach", "--wait")
    assert get(team.address(team.container("web")) + "/").status == 200
    assert "mail" in team.compose("ps", "--services").split()
    team.compose("exec", "-T", "web", "python", "-c", "import humanize")
    inside = ("run", "--rm", "--no-deps", *mypy_volume(team), "-T", "web", "sh", "-ec")
    assert " passed" in team.compose(*inside, f"{TESTS}; {RUFF}")
    team.run("sh", "-c", delete)
    assert " passed" in team.compose(*inside, f"{TESTS}; {RUFF}; {MYPY}")
