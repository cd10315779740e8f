"""What `copier update` says to its user: what is left to do, or why nothing is done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import copier
import pytest
import yaml

from tests.support import matrix
from tests.support.releases import IDENTITY, commit_all, git, known, releases
from tests.support.updates import KEPT, answer, append, files, left_behind, release, render, run, update

pytestmark = pytest.mark.rotates(seconds=60, touched_by=["copier.yml", "hooks/*.jinja", "tests/support/updates.py"])
MARKER = "'^<<<<<<< before updating'"


def left_to_do(said: str) -> list[str]:
    """Return the commands that an update lists as left to do."""
    _, _, message = said.partition("What is left to do:")
    return [line.partition("  #")[0].strip() for line in message.splitlines() if line.startswith("    ")]


def test_the_readmes_commands(clone: Path) -> None:
    block = (clone / "README.md").read_text(encoding="utf-8").partition("## Updates")[2].partition("```sh\n")[2]
    check, take_over = [line.removeprefix("uvx ").partition("#")[0].split() for line in block.splitlines()[:2]]
    assert "Current version is 98.0.0, latest version is 99.0.0" in run(*check, at=clone).stdout
    said = run(*take_over, at=clone)
    assert said.returncode == 0, said.stdout
    assert left_to_do(said.stdout) == [
        f"git grep --untracked {MARKER}",
        "git add --intent-to-add $(git ls-files --others --exclude-standard)",
        "git diff",
        "git diff --quiet HEAD pyproject.toml || make lock",
        "docker compose up --build",
        f'git grep {MARKER} || git commit --all --message "Update to Slipway v99.0.0"',
    ]
    commit_all(clone)
    assert "up-to-date" in run(*check, at=clone).stdout


def test_what_it_says_commits_the_update_and_no_conflict(newer: Path, clone: Path) -> None:
    """The listed commands, with a conflict, a new file of the template, and an unrelated new file."""
    append(newer / "template" / "new.txt", "New.\n")
    release(newer, "v99.0.0")
    ignored = clone / ".gitignore"
    append(ignored, "*.ours\n")
    commit_all(clone)
    conflicts, new, look, _, _, commit = left_to_do(run("copier", "update", "--defaults", at=clone).stdout)
    for name, text in {"user.name": "Test", "user.email": "test@example.com"}.items():
        git("config", name, text, at=clone)
    before = git("rev-parse", "HEAD", at=clone)
    assert run("sh", "-c", conflicts, at=clone).stdout == ".gitignore:<<<<<<< before updating\n"
    assert run("sh", "-c", new, at=clone).returncode == 0
    assert "+New." in run("sh", "-c", look, at=clone).stdout
    (clone / "dump.sql").write_text("Unrelated.\n", encoding="utf-8")
    assert ".gitignore:<<<<<<< before updating\n" in run("sh", "-c", commit, at=clone).stdout
    assert git("rev-parse", "HEAD", at=clone) == before, "a conflict was committed"
    lines = [line for line in ignored.read_text(encoding="utf-8").splitlines() if not re.match("<<<|===|>>>", line)]
    ignored.write_text("\n".join([*lines, ""]), encoding="utf-8")
    assert run("sh", "-c", commit, at=clone).returncode == 0
    assert git("diff", "--name-only", before, "HEAD", at=clone).split() == [
        ".copier-answers.yml",
        ".gitignore",
        "new.txt",
    ]
    assert git("status", "--porcelain", at=clone) == "?? dump.sql"


def test_it_says_that_tables_have_changed_if_they_have(newer: Path, tmp_path: Path) -> None:
    """Removing DRF needs no migration; an answers file of an older release lacks these facts."""
    for before, after in ((False, True), (True, False)):
        project = render(newer, tmp_path / f"{before}", matrix.pick(use_drf=before).data, "v98.0.0")
        said = run("copier", "update", "--defaults", f"--data=use_drf={after}", at=project).stdout
        assert ("tables have changed" in said) == after, said
    git("reset", "--quiet", "--hard", at=project)
    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text(encoding="utf-8").partition("made_for:")[0], encoding="utf-8")
    commit_all(project)
    said = run("copier", "update", "--defaults", at=project).stdout
    assert "tables have changed" not in said


def test_a_raised_dependency_is_locked_as_it_says(newer: Path, clone: Path, tmp_path: Path) -> None:
    """With a `make` that notes what it was asked for: the lock itself is tested in test_packages."""
    pyproject = newer / "template" / "pyproject.toml.jinja"
    text = pyproject.read_text(encoding="utf-8")
    assert text.count('"whitenoise>=6') == 1
    pyproject.write_text(text.replace('"whitenoise>=6', '"whitenoise>=6.0,>=6'), encoding="utf-8")
    release(newer, "v99.1.0")
    lock = left_to_do(run("copier", "update", "--defaults", at=clone).stdout)[3]
    (tmp_path / "make").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n', encoding="utf-8")
    (tmp_path / "make").chmod(0o755)
    for _ in range(2):  # the second time, nothing has changed
        subprocess.run(["sh", "-c", lock], cwd=clone, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True)
        commit_all(clone)
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "lock\n"


def test_what_an_update_leaves_behind_can_be_deleted_as_it_says(template: Path, tmp_path: Path) -> None:
    data = matrix.default_combination().data
    oldest = next(iter(releases()))
    project = render(template, tmp_path / "project", known(template, oldest, data), oldest)
    said = run("copier", "update", "--defaults", "--vcs-ref", "HEAD", at=project).stdout
    [delete] = re.findall("rm -rf .*", said)
    assert set(delete.split()[2:]) == left_behind(template) | {"conftest.py"}
    assert "tests/test_logs.py" in (project / "conftest.py").read_text(encoding="utf-8")
    assert run("sh", "-c", delete, at=project).returncode == 0
    fresh = files(render(template, tmp_path / "fresh", data))
    after = files(project)
    assert sorted(after) == sorted(fresh)
    for name in set(fresh) - {".copier-answers.yml"}:
        assert after[name] == fresh[name] or any(Path(name).match(kept) for kept in KEPT), name
    commit_all(project)
    assert "rm -rf" not in run("copier", "update", "--defaults", "--vcs-ref", "HEAD", at=project).stdout
    assert git("status", "--porcelain", at=project) == ""


def test_what_cannot_be_updated_is_left_as_it_is(clone: Path, tmp_path: Path) -> None:
    readme = " ".join((clone / "README.md").read_text(encoding="utf-8").split())

    def refused(with_: str, *arguments: str) -> None:
        before = files(clone) if (clone / ".git").exists() else {}
        said = run("copier", "update", "--defaults", *arguments, at=clone)
        assert said.returncode == 1, said.stdout
        assert with_.lower() in said.stdout.lower(), said.stdout
        assert f'"{with_}"' in readme
        assert not before or files(clone) == before

    with (clone / "README.md").open("a", encoding="utf-8") as text:
        text.write("Ours.\n")
    refused("Repository is dirty")
    commit_all(clone)
    (clone / ".copier-answers.yml").rename(tmp_path / "answers")
    commit_all(clone)
    refused("Template not found")
    (tmp_path / "answers").rename(clone / ".copier-answers.yml")
    commit_all(clone)
    answer(clone, "_src_path", "https://nowhere.invalid/slipway.git")
    refused("Unable to access")
    git("reset", "--quiet", "--hard", "HEAD^", at=clone)
    update(clone)
    commit_all(clone)
    refused("You are downgrading", "--vcs-ref", next(iter(releases())))
    shutil.rmtree(clone / ".git")
    refused("Only supported in git-tracked subprojects")


def test_an_answer_that_was_changed_by_hand_stops_the_update(clone: Path) -> None:
    for question, by_hand, sentence in [
        ("project_slug", "My Site", 'The project slug "My Site" is refused: '),
        ("project_name", "", "The project name is refused: empty"),
        ("database", "oracle", 'database takes sqlite, postgres, mysql, mariadb, not "oracle".'),
        ("python_version", "2.7", "python_version takes "),
        ("use_drf", "maybe", "use_drf takes yes or no"),
        ("deploy", "swarm", "SQLite is a file on one host"),
    ]:
        answer(clone, question, by_hand)
        with pytest.raises(copier.errors.UserMessageError, match=sentence):
            update(clone)
        assert git("status", "--porcelain", at=clone) == ""
        git("reset", "--quiet", "--hard", "HEAD^", at=clone)


def test_an_answer_to_a_question_of_another_release_does_not_stop_the_update(clone: Path) -> None:
    append(clone / ".copier-answers.yml", "retired: true\n")
    commit_all(clone)
    update(clone)
    assert (clone / ".gitignore").read_text(encoding="utf-8").endswith("*.new\n")


def test_a_misspelt_answer_stops_the_update(clone: Path) -> None:
    with pytest.raises(copier.errors.UserMessageError, match="No question is called databse"):
        update(clone, databse="postgres")
    assert git("status", "--porcelain", at=clone) == ""


def test_an_answer_that_is_none_any_more_stops_the_update(newer: Path, clone: Path) -> None:
    """Copier would choose another slug, and so another image, other volumes and an empty database."""
    slug = matrix.default_combination().slug
    macros = newer / "hooks" / "macros.jinja"
    text = macros.read_text(encoding="utf-8").replace("{%- set taken = [", f"{{%- set taken = ['{slug}', ")
    macros.write_text(text, encoding="utf-8")
    commit_all(newer)
    git("tag", "--force", "v99.0.0", at=newer)
    said = run("copier", "update", "--defaults", "--quiet", at=clone, PYTHONWARNINGS="ignore")
    assert said.returncode == 1, said.stdout
    assert len(said.stdout.splitlines()) == 1, said.stdout
    assert f'The project slug "{slug}" is refused: reserved' in said.stdout
    assert git("status", "--porcelain", at=clone) == ""


def test_two_updates_that_meet_leave_answers_that_can_be_read(clone: Path) -> None:
    git("switch", "--quiet", "--create", "other", at=clone)
    answer(clone, "_commit", "v98.0.1")
    git("switch", "--quiet", "main", at=clone)
    answer(clone, "_commit", "v98.0.2")
    merged = subprocess.run(["git", *IDENTITY, "merge", "other"], cwd=clone, capture_output=True, check=False)
    assert merged.returncode
    assert git("status", "--porcelain", at=clone) == "UU .copier-answers.yml"
    assert yaml.safe_load((clone / ".copier-answers.yml").read_text(encoding="utf-8"))["_commit"] == "v98.0.2"
    git("checkout", "--theirs", ".copier-answers.yml", at=clone)
    assert yaml.safe_load((clone / ".copier-answers.yml").read_text(encoding="utf-8"))["_commit"] == "v98.0.1"


def test_a_conflict_is_shown_and_cannot_be_committed(clone: Path) -> None:
    with (clone / ".gitignore").open("a", encoding="utf-8") as ignored:
        ignored.write("*.ours\n")
    commit_all(clone)
    update(clone)
    assert git("status", "--porcelain", at=clone).splitlines().count("UU .gitignore") == 1
    text = (clone / ".gitignore").read_text(encoding="utf-8")
    assert "<<<<<<< before updating\n*.ours\n=======\n*.new\n>>>>>>> after updating\n" in text
    git("add", ".gitignore", at=clone)
    checked = run("pre-commit", "run", "conflict-markers", at=clone)
    assert checked.returncode == 1, checked.stdout
    git("reset", "--hard", at=clone)
    assert (clone / ".gitignore").read_text(encoding="utf-8").endswith("*.ours\n")


def test_a_project_of_an_untagged_commit_waits_for_the_next_release(newer: Path, tmp_path: Path) -> None:
    git("tag", "--delete", "v99.0.0", at=newer)  # the project is then at a commit after v98.0.0
    project = render(newer, tmp_path / "untagged", matrix.default_combination().data)
    said = run("copier", "update", "--defaults", at=project)
    assert "You are downgrading" in said.stdout
    assert git("status", "--porcelain", at=project) == ""
    git("tag", "v99.0.0", at=newer)
    assert run("copier", "update", "--defaults", at=project).returncode == 0
