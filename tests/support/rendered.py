"""The files of a render, and the rules that they follow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml
from validate_pyproject.api import Validator
from yamllint import linter  # type: ignore[import-untyped]
from yamllint.config import YamlLintConfig  # type: ignore[import-untyped]

from tests.support import matrix
from tests.support.matrix import ROOT
from tests.support.project import Project

# Words that reveal a choice, anywhere in the repository. A word may belong to several choices.
TRACES: dict[tuple[str, Any], str] = {
    ("database", "sqlite"): r"sqlite",
    ("database", "postgres"): r"postgres|psycopg|\bpg_",
    ("database", "mysql"): r"mysql",
    ("database", "mariadb"): r"mariadb|mysql",
    ("use_drf", True): r"rest_framework|djangorestframework|\bdrf|spectacular|swagger|\bAPI\b|/api\b|test_api|throttl",
    (
        "use_celery",
        True,
    ): r"[Cc]elery|[Rr]edis\b|[Vv]alkey|\b[Bb]eat\b|[Bb]ackground task|[Ww]orker-logs|watchfiles|exports?/",
    ("multi_stage", True): r"\bAS (build|runtime)\b|--from=build",
    (
        "deploy",
        "compose",
    ): r"compose\.production|scripts/production\b",
    ("deploy", "swarm"): r"[Ss]warm\b|stack\.yaml|docker (stack|service)|dnsrr",
    ("deploy", "kubernetes"): r"[Kk]ubernetes|kubectl|[Kk]ustom|\bPDB\b|\bpods?\b",
}
# Files that may name the template.
UPDATES = {"README.md", ".copier-answers.yml", ".gitattributes", ".github/workflows/update.yml"}
# MySQL projects use MariaDB's client library, so they may name its packages.
SHARED = {("database", "mysql"): r"libmariadb\S*"}

YAMLLINT = YamlLintConfig("""
extends: default
rules:
  comments: {min-spaces-from-content: 1}
  document-start: disable
  line-length: {max: 120}
  truthy: {check-keys: false}
""")


def names(directory: Path) -> list[str]:
    """Return the names of the files that git tracks in a repository, or of every file in another folder."""
    if (directory / ".git").exists():
        git = ["git", "-c", "safe.directory=*", "ls-files"]
        return subprocess.run(git, cwd=directory, capture_output=True, text=True, check=True).stdout.splitlines()
    return [str(path.relative_to(directory)) for path in sorted(directory.rglob("*")) if path.is_file()]


def files(directory: Path) -> dict[str, str]:
    """Return the files that `names` lists: name -> text."""
    return {name: (directory / name).read_text(encoding="utf-8") for name in names(directory)}


def tool(name: str) -> str:
    """Return the path of a command-line tool that is installed next to this Python."""
    return str(Path(sys.executable).parent / name)


def copier_copy(folder: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Run Copier as a user does, with one `answer` and defaults otherwise; the caller checks the result."""
    command = [tool("copier"), "copy", "--defaults", "--vcs-ref", "HEAD", "--data", answer, str(ROOT), str(folder)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


# --- rules: each raises AssertionError, with the file's name, if it is broken ----------------------------------------


def nothing_is_left_unrendered(project: Project) -> None:
    """No Jinja is left in a file or its name, and only the files about updates name the template."""
    for name, text in files(project.path).items():
        assert not re.search(r"[{%}]|\.jinja$", name), name
        if not re.search(r"\.html$|workflows/", name):  # Django's templates and GitHub's expressions look the same
            # So do the templates of Docker's --format.
            docker = r"\{\{(\.\w|if \.|with \.|range \.|println \.|\(index \.|end\})"
            assert not re.search(r"\{\{|\{%|\{#|%\}", re.sub(docker, "", text)), name
        assert "copier" not in text.lower() or name in UPDATES, name


def every_variable_is_listed(project: Project) -> None:
    """.env.example lists every variable that the settings or the stacks read."""
    texts = files(project.path)
    settings = "".join(text for name, text in texts.items() if re.match(r"(config|ops)/\w+\.py$", name))
    read = set(re.findall(r'(?:env\.\w+|number|matching|flag|networks|secret)\(\s*"([A-Z_]+)"', settings))
    stacks = "".join(
        text for name, text in texts.items() if re.fullmatch(r"(deploy/)?(compose|stack)(\.\w+)?\.yaml", name)
    )
    read |= {name.removesuffix("_FILE") for name in re.findall(r"\$\{([A-Z0-9_]+)", stacks)}
    read -= {"BUILDING", "COMPOSE_PROJECT_NAME"}  # set by the build and by Compose
    read -= {  # set by the scripts
        *("APP_USER", "TAG", "SITE_NAMES", "SITE_ADDRESS", "HSTS", "GATEWAY"),
        "STACK",
        "SERVER",
        "DATABASE_REPLICAS",
        "BEAT_REPLICAS",
        *("NODES", "UPLOADS"),
        *(name for name in read if name.endswith("_HASH")),
    }
    listed = set(re.findall(r"(?m)^(?:# )?([A-Z0-9_]+)=", texts[".env.example"]))
    assert {name for name in read if not re.search("_(CPUS|MEMORY)$", name)} <= listed, read - listed


def settings_have_lines_of_their_own(project: Project) -> None:
    """One setting a line, and one a line in lists of import paths: an edit of one is no conflict with another's."""
    for node in ast.walk(ast.parse((project.path / "config" / "settings.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign):
            assert len(node.targets) == 1, f"config/settings.py:{node.lineno} sets several settings"
        if isinstance(node, ast.List):
            paths = [each for each in node.elts if isinstance(each, ast.Constant) and "." in str(each.value)]
            lines = {node.lineno, *(each.lineno for each in paths)}
            assert len(paths) < 2 or len(lines) == len(paths) + 1, (
                f"config/settings.py:{node.lineno} is a list on one line"
            )


def white_space_is_clean(project: Project) -> None:
    """No trailing blanks, one newline at the end, and no gaps left by conditions."""
    for name, text in files(project.path).items():
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), name
        assert text == "" or (text.endswith("\n") and not text.endswith("\n\n")), name
        assert not text.startswith("\n"), name
        # Two blank lines separate top-level definitions in Python and stages in a Dockerfile; nothing uses more.
        assert "\n\n\n\n" not in text, name
        if not name.endswith(".py") and not name.startswith("Dockerfile"):
            assert "\n\n\n" not in text, name


def no_trace_of_what_was_not_chosen(project: Project) -> None:
    """No file or file name reveals a choice that was not taken."""
    answers = project.combination.data
    chosen = "|".join(word for (name, answer), word in TRACES.items() if answers[name] == answer)
    own_names = f"{project.combination.name}|{project.slug}"  # they contain the choices
    texts = {name: re.sub(own_names, "", text) for name, text in files(project.path).items()}
    texts.pop(".copier-answers.yml")  # it names every question
    everything = {**texts, ".": "\n".join(texts)}
    for (question, answer), words in TRACES.items():
        if answers[question] == answer:
            assert any(re.search(words, text) for text in everything.values()), f"{words} matches nothing"
            continue
        allowed = SHARED.get((question, answers[question]), "(?!)")
        for name, text in everything.items():
            text = re.sub(allowed, "", text)
            found = [each for each in re.findall(words, text) if not (chosen and re.search(chosen, str(each)))]
            assert not found, f"{name} shows a trace of {question}={answer}: {found}"


def it_is_small(project: Project) -> None:
    """No file is longer than 300 lines, and the tests are no longer than 350, as the budget of a render says."""
    lines = {name: text.count("\n") for name, text in files(project.path).items() if "requirements" not in name}
    assert {name: count for name, count in lines.items() if count > 300} == {}
    assert sum(count for name, count in lines.items() if name.startswith("tests/")) <= 350


def metadata_is_valid(project: Project) -> None:
    """pyproject.toml is valid, and the answers file holds the answers and the source of updates."""
    pyproject = tomllib.loads((project.path / "pyproject.toml").read_text(encoding="utf-8"))
    Validator()(pyproject)
    assert pyproject["project"]["name"] == project.slug
    answers = yaml.safe_load((project.path / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert {name: answers[name] for name in matrix.questions()} == project.combination.data
    assert [*linter.run((project.path / ".copier-answers.yml").read_text(encoding="utf-8"), YAMLLINT)] == []
    assert answers["_commit"]
    assert answers["_src_path"]


def the_dockerfile_takes_nothing_but_its_base_image(project: Project) -> None:
    """Neither another image nor a frontend (`# syntax=`) has to be pulled for a build."""
    text = (project.path / "Dockerfile").read_text(encoding="utf-8")
    stages = {"${PYTHON_IMAGE}", *re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)}
    stages |= {f"${{{name}}}" for name, default in re.findall(r"(?m)^ARG (\w+)=(\S+)$", text) if default in stages}
    assert set(re.findall(r"^FROM (\S+)|from=([^\s,]+)", text, re.MULTILINE)) <= {
        pair for stage in stages for pair in ((stage, ""), ("", stage))
    }
    assert not re.match(r"#\s*syntax=", text)


def whatever_stops_gets_the_time_it_takes(project: Project) -> None:
    """The grace period is longer than the drain: otherwise the container is killed while it finishes its work."""
    services = yaml.safe_load((project.path / "compose.production.yaml").read_text(encoding="utf-8"))["services"]
    seconds = {"40s": 40, "1m": 60}
    dockerfile = (project.path / "Dockerfile").read_text(encoding="utf-8")
    kill = re.search(r"GRANIAN_WORKERS_KILL_TIMEOUT=(\d+)", dockerfile)
    assert kill
    assert seconds[services["web"]["stop_grace_period"]] > int(kill[1])
    if project.combination.answers["use_celery"]:
        settings = (project.path / "config" / "settings.py").read_text(encoding="utf-8")
        drain = re.search(r'"CELERY_DRAIN_SECONDS", default=(\d+)', settings)
        assert drain
        assert seconds[services["worker"]["stop_grace_period"]] > int(drain[1])


def yaml_is_clean(project: Project) -> None:
    """yamllint reports nothing, not even a warning."""
    texts = {name: text for name, text in files(project.path).items() if name.endswith((".yml", ".yaml"))}
    assert len(texts) >= 4
    found = [f"{name}:{problem}" for name, text in texts.items() for problem in linter.run(text, YAMLLINT)]
    assert not found, "\n".join(found)


def python_is_clean(project: Project) -> None:
    """ruff finds nothing to change, in style or format."""
    project.run(tool("ruff"), "check", "--no-cache", ".")
    project.run(tool("ruff"), "format", "--no-cache", "--check", ".")


def the_compose_file_is_clean(project: Project) -> None:
    """Compose accepts compose.yaml without a message, and publishes the site on this machine only."""
    assert project.run("docker", "compose", "--file", "compose.yaml", "config", "--quiet") == ""
    web = yaml.safe_load(project.compose("config"))["services"]["web"]
    assert [port["host_ip"] for port in web["ports"]] == ["127.0.0.1"]


def the_makefile_lists_its_targets(project: Project) -> None:
    """`make` lists every target, including those that the README uses."""
    listed = {line.split()[0] for line in project.run("make").splitlines()}
    makefile = (project.path / "Makefile").read_text(encoding="utf-8")
    assert listed == set(re.findall(r"(?m)^([a-z-]+):", makefile))
    assert listed >= {"up", "down", "logs", "shell", "migrate", "test", "lint", "lock", "build", "secrets", "deploy"}


def a_worker_has_its_logs(project: Project) -> None:
    """`make worker-logs` exists if and only if there is a worker."""
    makefile = (project.path / "Makefile").read_text(encoding="utf-8")
    assert bool(re.search(r"(?m)^worker-logs:", makefile)) == project.combination.answers["use_celery"]
