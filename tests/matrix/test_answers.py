"""Answers: wrong ones are refused with a sentence and leave nothing behind, unusual ones work."""

from __future__ import annotations

import ast
import html
import re
import tomllib
from pathlib import Path

import copier
import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix, rendered
from tests.support.matrix import ROOT, Combination
from tests.support.project import Project, get
from tests.support.rendered import copier_copy, files

BAD = {
    "project_name": [
        "",
        "   ",
        " Padded",
        "Padded ",
        "x" * 61,
        "Two\nlines",
        "A\ttab",
        "Bell\x07",
        "Zero\u200bwidth",
        "Right\u202eto left",
        'Quote "this"',
        "Back\\slash",
        "{{ 7 * 7 }}",
        "{% raw %}",
        "Braces {}",
        "$(reboot)",
        "${HOME}",
        "`id`",
        "a; b",
        "a | b",
        "a > b",
        "<script>",
        "***",
        "-- '",
    ],
    "project_slug": [
        "",
        "My-Site",
        "my site",
        "my_site",
        "1site",
        "-site",
        "site-",
        "my--site",
        "s" * 41,
        "ærø",
        "日本",
        "my.site",
        "../site",
        "site;reboot",
        "site\n",
        "django",
        "psycopg",
        "json",
        "test",
        "config",
        "nul",
    ],
    "python_version": ["2.7", "3.11", "3.99", "latest", ""],
    "database": ["oracle", "SQLite", "postgresql", ""],
    "use_drf": ["perhaps", "2", ""],
    "use_celery": ["later"],
    "multi_stage": ["two"],
}

GOOD = [
    "Ærø's Café & Co",
    "日本語サイト",
    "Сайт",
    "Ελλάδα",
    "X",
    "7",
    "C# & F# in 100%",
    "It's",
    "'quoted'",
    "O'Reilly, Inc.",
    "a/b",
    "me@home",
    "= 1 + 1",
    "True",
    "null",
    "2026-11-21",
    "- item",
    "# Heading",
    "Rocket 🚀",
    "Ünï-cödé: the (best) site!",
    "y" * 60,
]


@pytest.mark.parametrize(
    ("question", "answer"), [(question, each) for question, answers in BAD.items() for each in answers]
)
def test_a_bad_answer_is_refused(question: str, answer: str, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    with pytest.raises((ValueError, TypeError)) as refused:
        copier.run_copy(str(ROOT), folder, data={question: answer}, vcs_ref="HEAD", defaults=True, quiet=True)
    assert not folder.exists() or not list(folder.iterdir())
    said = str(refused.value)
    if question.startswith("project_"):
        assert f"The {question.replace('_', ' ')} " in said
        assert said.endswith(".")
    else:
        assert question in said or "Invalid choice" in said


def test_on_the_command_line_the_sentence_comes_last(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    result = copier_copy(folder, "project_slug=Bad Slug")
    assert result.returncode
    assert "The project slug must be lower-case letters and digits" in result.stderr.splitlines()[-1]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Site", "my-site"),
        ("Ærø's Café & Co", "aeros-cafe-co"),
        ("  7 Dwarfs!", "dwarfs"),
        ("日本", "my-site"),
        ("Straße 66", "strasse-66"),
        ("A " * 30, "-".join("a" * 20)),
        ("Django", "django-site"),
    ],
)
def test_a_slug_is_offered_for_every_name(name: str, slug: str, copie: Copie) -> None:
    result = copie.copy(extra_answers={"project_name": name.strip()[:59]})
    assert result.exception is None
    assert result.answers["project_slug"] == slug


def unusual(copie: Copie, engine: Engine, name: str) -> Project:
    """Render a project with an unusual name."""
    combination = Combination(f"slipway-unusual-{GOOD.index(name)}", matrix.default_combination().answers)
    result = copie.copy(extra_answers=combination.data | {"project_name": name})
    assert result.exception is None
    assert result.project_dir
    return Project(result.project_dir, combination, engine, {"PORT": "0"})


@pytest.mark.parametrize("name", GOOD)
def test_an_unusual_name_is_written_as_it_is(name: str, copie: Copie, engine: Engine) -> None:
    """In all places where a name stands: README, settings, pyproject.toml, and the label of the image."""
    project = unusual(copie, engine, name)
    texts = files(project.path)
    assert name in texts["README.md"].splitlines()[0]
    [settings] = re.findall(r"(?m)^SITE_NAME = (.+)$", texts["config/settings.py"])
    assert ast.literal_eval(settings) == name
    assert tomllib.loads(texts["pyproject.toml"])["project"]["description"] == name
    rendered.python_is_clean(project)
    project.compose("config", "--quiet")
    [label] = re.findall(r"(?m)^LABEL .+$", texts["Dockerfile"])
    (project.path / "Labelled").write_text(f"FROM scratch\n{label}\n", encoding="utf-8")
    try:
        project.docker("build", "--quiet", "--file", "Labelled", "--tag", project.slug, ".")
        assert project.inspect(project.slug)["Config"]["Labels"]["org.opencontainers.image.title"] == name
    finally:
        project.docker("image", "rm", "--force", project.slug)


# The others differ in no way that a page or a build would meet: the matrix's own names have an accent, quotes and "&".
@pytest.mark.parametrize("name", ["C# & F# in 100%", "Rocket 🚀"])
def test_a_site_with_an_unusual_name_works(name: str, copie: Copie, engine: Engine) -> None:
    project = unusual(copie, engine, name)
    try:
        project.docker("build", "--quiet", "--tag", project.slug, ".")
        options = ("--detach", "--publish", "127.0.0.1:0:8000", "--env", "DEBUG=1", "--name", project.slug)
        container = project.docker("run", *options, project.slug).strip()
        project.wait_healthy(container)
        home = get(project.address(container) + "/")
        assert home.status == 200
        assert f"<h1>{html.escape(name)}</h1>" in home.text
    finally:
        project.run("sh", "-c", f"docker rm --force --volumes {project.slug}; docker image rm {project.slug}")


def test_help_says_the_consequence_of_each_choice() -> None:
    for name, question in matrix.questions().items():
        assert len(question["help"]) > 30, name
