"""Every combination renders to a repository that reads as if written by hand for it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import copier
import pytest
import yaml

from tests.support import matrix, rendered
from tests.support.matrix import ROOT
from tests.support.project import Project
from tests.support.rendered import copier_copy, files
from tests.support.updates import left_behind

RULES = [
    rendered.nothing_is_left_unrendered,
    rendered.white_space_is_clean,
    rendered.no_trace_of_what_was_not_chosen,
    rendered.every_variable_is_listed,
    rendered.settings_have_lines_of_their_own,
    rendered.it_is_small,
    rendered.metadata_is_valid,
    rendered.a_worker_has_its_logs,
    rendered.the_dockerfile_takes_nothing_but_its_base_image,
    rendered.whatever_stops_gets_the_time_it_takes,
]


def test_its_files_are_clean(project: Project) -> None:
    for rule in RULES:
        rule(project)


def test_it_renders_again_without_trust_and_without_network(
    project: Project, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("rendering used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    copier.run_copy(
        str(template), tmp_path, data=project.combination.data, vcs_ref="HEAD", defaults=True, unsafe=False, quiet=True
    )
    first, second = files(project.path), files(tmp_path)
    first.pop(".copier-answers.yml")
    second.pop(".copier-answers.yml")
    assert second == first


def test_files_have_plain_names_and_the_table_of_files_names_those_that_are_there() -> None:
    template = ROOT / "template"
    named = {path.relative_to(template).as_posix() for path in template.rglob("*")}
    assert [name for name in named if "{" in name] == ["{{_copier_conf.answers_file}}.jinja"]
    document = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    listed = [line[1:] for lines in document["_exclude"] for line in lines.splitlines() if line.startswith("/")]
    assert listed
    assert {name for name in listed if not {name, f"{name}.jinja"} & named} == left_behind(ROOT)


def test_the_command_line_needs_no_trust_and_tells_what_comes_next(tmp_path: Path) -> None:
    folder = tmp_path / "my site"
    result = copier_copy(folder, "project_name=Ærø")
    assert result.returncode == 0, result.stderr
    message = result.stderr.partition("these three commands:")[2]
    commands = [line.strip() for line in message.splitlines() if line.startswith("    ")]
    assert commands[0] == f"cd '{folder}'"
    assert len(commands) == 3
    assert commands[2] == "docker compose up"
    git = "git config user.name Test; git config user.email test@example.com; " + commands[1].partition("&& ")[2]
    subprocess.run(["sh", "-ec", f"{commands[0]}; git init --quiet; {git}; git status --porcelain"], check=True)
    assert (folder / ".git").is_dir()


@pytest.mark.parametrize("password", ["p@ss/w%", "0123abcd"])
def test_a_password_is_percent_encoded_in_urls(tmp_path: Path, password: str) -> None:
    data = matrix.pick(database="postgres", use_celery=True).data
    copier.run_copy(str(ROOT), tmp_path, data=data, vcs_ref="HEAD", defaults=True, quiet=True)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "database_password").write_text(f"{password}\n", encoding="utf-8")
    (secrets / "redis.conf").write_text(f"requirepass {password}\n", encoding="utf-8")
    subprocess.run(["sh", "scripts/secrets.sh"], cwd=tmp_path, check=True, capture_output=True)
    for name in ("database_url", "redis_url"):
        url = (secrets / name).read_text(encoding="utf-8").strip()
        assert unquote(urlsplit(url).password or "") == password
        assert (password in url) == password.isalnum(), "a plain password stays readable"
