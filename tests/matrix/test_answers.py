"""Invalid answers are refused with a sentence and leave nothing behind; unusual ones work."""

from __future__ import annotations

import ast
import html
import os
import re
import shutil
import tomllib
from pathlib import Path

import copier
import pexpect
import pytest
import yaml
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.support import matrix, rendered
from tests.support.matrix import Combination
from tests.support.project import Project, get
from tests.support.rendered import copier_copy, files, tool

TITLE = "org.opencontainers.image.title"
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
    "deploy": ["docker", ""],
}
# How Copier begins each message at a prompt, where it cuts off what does not fit on one line.
BEGINNING = "Validation error for question '{}': "
COLUMNS = 80

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


@pytest.fixture(scope="module")
def plain(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a folder without git, so that Copier does not clone it for each of many renders."""
    folder = tmp_path_factory.mktemp("plain") / "slipway"
    return Path(shutil.copytree(template, folder, ignore=shutil.ignore_patterns(".git")))


@pytest.mark.parametrize(
    ("question", "answer"), [(question, each) for question, answers in BAD.items() for each in answers]
)
def test_a_bad_answer_is_refused(question: str, answer: str, plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    with pytest.raises(copier.errors.UserMessageError) as refused:
        copier.run_copy(str(plain), folder, data={question: answer}, defaults=True, quiet=True)
    assert not folder.exists()
    said = str(refused.value)
    if question.startswith("project_"):
        problem = re.search(rf"The {question.replace('_', ' ')} .*is refused: (.+)\.'$", said)
        assert problem
        assert len(BEGINNING.format(question) + problem[1]) <= COLUMNS
    else:
        assert f"{question} takes " in said


@pytest.mark.parametrize("unknown", ["databse", "on_swarm"])
def test_an_answer_to_no_question_is_refused(unknown: str, plain: Path, tmp_path: Path) -> None:
    """A misspelt one, and one that the template computes."""
    folder = tmp_path / "site"
    with pytest.raises(copier.errors.UserMessageError, match=rf"No question is called {unknown}\. .*, database, "):
        copier.run_copy(str(plain), folder, data={unknown: "postgres"}, defaults=True, quiet=True)
    assert not folder.exists()


@pytest.mark.parametrize("database", [{}, {"database": "sqlite"}])
@pytest.mark.parametrize("deploy", ["swarm", "kubernetes"])
def test_a_cluster_needs_a_database_server(deploy: str, database: dict[str, str], plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    with pytest.raises(copier.errors.UserMessageError, match=f"choose another database for {deploy}, or deploy"):
        copier.run_copy(str(plain), folder, data={"deploy": deploy, **database}, defaults=True, quiet=True)
    assert not folder.exists()


@pytest.mark.parametrize("question", ["project_name", "project_slug", "python_version", "database"])
def test_a_question_refuses_it_too(question: str, plain: Path, tmp_path: Path) -> None:
    """At its prompt, and as here for a default from the user's own settings."""
    settings = copier.Settings(defaults={question: BAD[question][-4]})
    with pytest.raises(ValueError, match=f"'{question}': "):
        copier.run_copy(str(plain), tmp_path / "site", settings=settings, defaults=True, quiet=True)


def test_on_the_command_line_there_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    result = copier_copy(folder, "project_slug=Bad Slug")
    assert result.returncode == 1
    [said] = [line for line in result.stderr.splitlines() if "Warning" not in line and not line.startswith("  ")]
    assert 'The project slug "Bad Slug" is refused: use a-z, 0-9 and - between words.' in said
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
def test_a_slug_is_offered_for_every_name(name: str, slug: str, copie: Copie, plain: Path) -> None:
    result = copie.copy(extra_answers={"project_name": name.strip()[:59]}, template_dir=plain)
    assert result.exception is None
    assert result.answers["project_slug"] == slug


@pytest.fixture(scope="module")
def unusual(copie_session: Copie, engine: Engine, plain: Path) -> dict[str, Project]:
    """A project for each unusual name."""
    projects = {}
    for number, name in enumerate(GOOD):
        combination = Combination(f"slipway-unusual-{number}", matrix.default_combination().answers)
        result = copie_session.copy(extra_answers=combination.data | {"project_name": name}, template_dir=plain)
        assert result.exception is None, f"{name}: {result.exception!r}"
        assert result.project_dir
        projects[name] = Project(result.project_dir, combination, engine, {"PORT": "0"})
    return projects


@pytest.mark.parametrize("name", GOOD)
def test_an_unusual_name_is_written_as_it_is(name: str, unusual: dict[str, Project]) -> None:
    """In the README, the settings and pyproject.toml."""
    texts = files(unusual[name].path)
    assert name in texts["README.md"].splitlines()[0]
    [settings] = re.findall(r"(?m)^SITE_NAME = (.+)$", texts["config/settings.py"])
    assert ast.literal_eval(settings) == name
    assert tomllib.loads(texts["pyproject.toml"])["project"]["description"] == name
    rendered.python_is_clean(unusual[name])


def test_an_image_has_an_unusual_name_as_it_is(unusual: dict[str, Project]) -> None:
    """All the names in one image, each as a label of its own."""
    lines = ["FROM scratch"]
    for number, project in enumerate(unusual.values()):
        [label] = re.findall(rf"(?m)^LABEL {TITLE}=.+$", files(project.path)["Dockerfile"])
        lines.append(label.replace(TITLE, f"name{number}"))
    (project.path / "Labelled").write_text("\n".join([*lines, ""]), encoding="utf-8")
    try:
        project.docker("build", "--quiet", "--file", "Labelled", "--tag", project.slug, ".")
        labels = project.inspect(project.slug)["Config"]["Labels"]
        assert labels == {f"name{number}": name for number, name in enumerate(unusual)}
    finally:
        project.docker("image", "rm", "--force", project.slug)


# The other names have nothing else that matters to pages or builds: the matrix's names have an accent, a quote and "&".
@pytest.mark.parametrize("name", ["C# & F# in 100%", "Rocket 🚀"])
def test_a_site_with_an_unusual_name_works(name: str, unusual: dict[str, Project]) -> None:
    project = unusual[name]
    try:
        project.docker("build", "--quiet", "--tag", project.slug, ".")
        options = ("--detach", "--publish", "127.0.0.1:0:8000", "--env", "DEBUG=1", "--name", project.slug)
        home = get(project.wait_answering(project.docker("run", *options, project.slug).strip()) + "/")
        assert home.status == 200
        assert f"<h1>{html.escape(name)}</h1>" in home.text
    finally:
        project.run("sh", "-c", f"docker rm --force --volumes {project.slug}; docker image rm {project.slug}")


@pytest.mark.parametrize("deploy", matrix.choices("deploy"))
def test_a_name_that_yaml_or_toml_reads_as_another_type_stays_a_name(deploy: str, plain: Path, tmp_path: Path) -> None:
    """Such as `true`: files say the same of it as of another name, whose quotes show that any word would do."""
    read = {}
    for slug in ("zebra", "true"):
        data = {**matrix.pick(database="postgres", use_celery=True).data, "project_name": slug, "project_slug": slug}
        copier.run_copy(str(plain), tmp_path / slug, data={**data, "deploy": deploy}, defaults=True, quiet=True)
        texts = files(tmp_path / slug)
        yamls = {name: text for name, text in texts.items() if name.endswith((".yml", ".yaml"))}
        read[slug] = {name: [*yaml.safe_load_all(text)] for name, text in yamls.items()}
        read[slug]["pyproject.toml"] = [tomllib.loads(texts["pyproject.toml"])]
        if slug == "zebra":
            yamls.pop(".copier-answers.yml")  # PyYAML writes it, and quotes what needs quotes
            events = [event for text in yamls.values() for event in yaml.parse(text)]
            assert {each.style for each in events if isinstance(each, yaml.ScalarEvent) and each.value == slug} == {'"'}
    assert repr(read["zebra"]).replace("zebra", "true") == repr(read["true"])


class Terminal:
    """Copier as a person runs it, in a terminal of 80 columns and 24 rows."""

    def __init__(self, template: Path, folder: Path, *options: str) -> None:
        command = ["copy", *options, str(template), str(folder)]
        # Nothing here answers where the cursor is.
        own = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "COPIER_SETTINGS_PATH": os.devnull}
        env = {**os.environ, **own}
        size = (24, COLUMNS)
        self.copier = pexpect.spawn(tool("copier"), command, 60, env=env, dimensions=size, encoding="utf-8")

    def shows(self, *texts: str) -> None:
        """Wait for each text, whole and on one line."""
        for text in texts:
            self.copier.expect_exact(text)

    def asks(self, question: str) -> None:
        """Wait for a question with its help and the title of each choice."""
        definition = matrix.questions()[question]
        self.shows(definition["help"], *definition.get("choices", []))

    def types(self, keys: str) -> None:
        """Press some keys."""
        self.copier.send(keys)

    def ends(self) -> None:
        """Wait until the project is made."""
        self.shows("README.md has the next steps.")
        self.copier.expect(pexpect.EOF)
        self.copier.close()
        assert self.copier.exitstatus == 0


ENTER, DOWN, ERASE = "\r", "\x1b[B", "\x15"


def answers(folder: Path) -> dict[str, object]:
    """Return the answers that a project has stored."""
    stored = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    return {name: stored[name] for name in matrix.questions()}


def test_enter_takes_all_defaults_and_sqlite_offers_no_cluster(plain: Path, tmp_path: Path) -> None:
    terminal = Terminal(plain, tmp_path / "site")
    for question in matrix.questions():
        terminal.asks(question)
        if question == "deploy":
            terminal.shows("(not with SQLite)")
            terminal.types(DOWN)
        terminal.types(ENTER)
    terminal.ends()
    defaults = {"project_name": "My Site", "project_slug": "my-site", "deploy": "compose"}
    assert answers(tmp_path / "site") == {**matrix.default_combination().answers, **defaults}


def test_another_database_can_go_to_a_cluster_and_a_bad_answer_can_be_mended(plain: Path, tmp_path: Path) -> None:
    terminal = Terminal(plain, tmp_path / "site")
    for question in matrix.questions():
        terminal.asks(question)
        if question == "project_slug":
            terminal.types(f"{ERASE}My Site{ENTER}")
            terminal.shows(BEGINNING.format(question) + "use a-z, 0-9 and - between words")
            terminal.types(f"{ERASE}ours")
        if question in {"database", "deploy"}:
            terminal.types(DOWN)
        terminal.types(ENTER)
    terminal.ends()
    given = answers(tmp_path / "site")
    assert [given[name] for name in ("project_slug", "database", "deploy")] == ["ours", "postgres", "swarm"]


def test_a_given_cluster_leaves_no_choice_of_sqlite(plain: Path, tmp_path: Path) -> None:
    """Where the database is asked for all the same, as in an update."""
    given = {**matrix.pick(database="postgres").data, "deploy": "kubernetes"}
    options = [f"--data={name}={answer}" for name, answer in given.items()]
    terminal = Terminal(plain, tmp_path / "site", *options, "--ask=database")
    terminal.shows(matrix.questions()["database"]["help"], "(not with kubernetes)")
    terminal.types(ENTER)
    terminal.ends()
    assert answers(tmp_path / "site")["database"] == "postgres"


def test_help_says_the_consequence_of_each_choice() -> None:
    for name, question in matrix.questions().items():
        assert len(question["help"]) > 30, name
