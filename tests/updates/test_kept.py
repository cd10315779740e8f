"""What running sites depend on stays the same from release to release, and every rule for it can fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import copier
import pytest
import yaml

from tests.support import kept, matrix, rendered
from tests.support.kept import Files
from tests.support.releases import git, known
from tests.support.updates import milestones, older

Renders = Mapping[str, Files]

RULES: dict[str, Callable[[str, Files, Files], None]] = {
    "migrations": lambda _, before, after: kept.migrations_stay(before, after),
    "servers": lambda _, before, after: kept.servers_stay(before, after),
    "variables": lambda _, before, after: kept.variables_stay(before, after),
    "settings": lambda release, before, after: kept.settings_can_be_edited(
        before,
        after,
        limit=kept.SETTINGS.get(release, {}).get(yaml.safe_load(after[".copier-answers.yml"])["database"], 0),
    ),
}


def rewritten(pattern: str, replacement: str, files: str) -> Callable[[Files], Files]:
    """Return a mutant in which `pattern` is replaced in the files whose names match `files`."""

    def mutate(after: Files) -> Files:
        return {
            name: re.sub(pattern, replacement, text) if re.search(files, name) else text for name, text in after.items()
        }

    return mutate


# Mistakes that the update tests cannot detect, because no edit is lost: rule -> what it must detect.
MUTANTS: list[tuple[str, Callable[[Files], Files]]] = [
    ("migrations", rewritten("max_length=150", "max_length=100", r"/0001_initial\.py$")),
    ("migrations", lambda after: {**after, "accounts/migrations/0002_user_phone.py": "..."}),
    ("servers", rewritten(r"(image: (?:\w+/)?[a-z]+:)\d+", r"\g<1>99", r"^compose\.yaml$")),
    ("variables", rewritten("SITE_HOST", "SITE_DOMAIN", "")),
    ("settings", rewritten(r"env\.str", "env.text", r"^config/settings\.py$")),
]


@pytest.fixture(scope="module", params=matrix.choices("database"))
def renders(request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Renders:
    """The files of a project for each database, rendered by three releases and, last, by the current template.

    The newest release has been compared with all before it. The one between, which changes with the commit and the
    database, would show where that went wrong.
    """
    answers = matrix.pick(database=request.param, use_celery=True).data
    turn = int(git("rev-list", "--count", "HEAD", at=template)) + matrix.choices("database").index(request.param)
    made = {}
    for ref in [*milestones(older(template), turn), "HEAD"]:
        folder = tmp_path_factory.mktemp("kept") / ref
        copier.run_copy(str(template), folder, data=known(template, ref, answers), vcs_ref=ref, quiet=True)
        made[ref] = rendered.files(folder)
    return made


@pytest.mark.parametrize("rule", RULES)
def test_what_sites_count_on_stays(rule: str, renders: Renders) -> None:
    for release, before in renders.items():
        if release != "HEAD":
            RULES[rule](release, before, renders["HEAD"])


@pytest.mark.parametrize(("rule", "mutate"), MUTANTS)
def test_a_mistake_is_noticed(rule: str, mutate: Callable[[Files], Files], renders: Renders) -> None:
    mutant = mutate(renders["HEAD"])
    assert mutant != renders["HEAD"], "the replacement changes nothing: adapt it to the template"
    for release, before in renders.items():
        if release != "HEAD":
            with pytest.raises(AssertionError):
                RULES[rule](release, before, mutant)
