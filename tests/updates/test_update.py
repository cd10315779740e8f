"""`copier update` from every release, with a team's edits: none is lost, and none conflicts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

from tests.plugin.selection import TURN, selected
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.releases import IDENTITY, commit_all, git, known, releases
from tests.support.updates import EDITS, edit, files, milestones, older, prove, render, update
from tests.support.workflows import filled_in, value, workflow


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in memory if possible: an update creates and removes thousands of small files."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="slipway-", dir=shared) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)  # Copier's own
        yield Path(folder)


def test_there_are_releases() -> None:
    assert releases(), "no release is in the history: use a full clone, not a shallow one"


@pytest.mark.covering
def test_an_update_keeps_every_edit(
    combination: Combination,
    template: Path,
    memory: Path,
    record: Callable[[str, str], None],
    pytestconfig: pytest.Config,
) -> None:
    """From one release per combination, in turn; in a full run from three. More releases cost no more time."""
    rows = selected(pytestconfig, covering=True)
    turn = rows.index(combination) + pytestconfig.stash[TURN].part
    tags = older(template)
    chosen = [tags[turn % len(tags)]] if rows == list(matrix.covering()) else milestones(tags, turn)
    record("updates", f"from {', '.join(chosen)}, no conflict")
    for release in chosen:
        prove(template, memory, release, combination)


def test_a_release_need_not_know_every_choice(newer: Path, memory: Path) -> None:
    """Projects of all releases can choose an answer that is new today, during the update."""
    document = newer / "copier.yml"
    with_choice = document.read_text(encoding="utf-8").replace('    - "3.14"\n', '    - "3.14"\n    - "3.99"\n')
    document.write_text(with_choice, encoding="utf-8")
    commit_all(newer)
    new = {**matrix.default_combination().answers, "python_version": "3.99"}
    project = prove(newer, memory, next(iter(releases())), Combination("new", new))
    assert 'requires-python = ">=3.99"' in (project / "pyproject.toml").read_text(encoding="utf-8")


def test_every_release_has_its_turn_and_none_costs_more() -> None:
    tags = [f"v{number}" for number in range(30)]
    turns = [milestones(tags, number) for number in range(96)]
    assert {tag for turn in turns for tag in turn} == set(tags)
    assert all(turn[0] == "v0" and turn[-1] == "v29" and len(turn) <= 3 for turn in turns)
    assert milestones(tags) == ["v0", "v15", "v29"]
    assert milestones(tags[:2]) == tags[:2]
    assert milestones(tags[:1]) == tags[:1]


def toggles() -> list[tuple[str, Any, Any]]:
    """Return every change of an answer: question, before, after."""
    return [
        (question, before, after)
        for question, offered in matrix.axes().items()
        for before in offered
        for after in offered
        if before != after
    ]


@pytest.mark.parametrize("deploy", [answer for answer in matrix.choices("deploy") if answer != "compose"])
def test_a_project_of_the_oldest_release_can_move_to_a_cluster(
    deploy: str, template: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And back. Two files end with lines that depend on the answer, so lines that a team adds there conflict."""
    for name in ("Makefile", ".env.example"):
        monkeypatch.delitem(EDITS, name)
    combination = matrix.pick(database="postgres", use_celery=True)
    project = prove(template, memory, next(iter(releases())), combination, deploy=deploy)
    commit_all(project)
    update(project, deploy="compose")
    assert git("ls-files", "--unmerged", at=project) == ""
    assert (project / "compose.production.yaml").exists()
    assert not (project / "deploy").exists()


@pytest.mark.rotates(seconds=20, touched_by=["tests/support/updates.py"])
@pytest.mark.parametrize(("question", "before", "after"), toggles())
def test_an_answer_can_be_changed(question: str, before: Any, after: Any, template: Path, memory: Path) -> None:
    everything = {"database": "postgres", "use_celery": True} if toggles().index((question, before, after)) % 2 else {}
    combination = matrix.pick(**everything | {question: before})
    project = prove(template, memory, next(iter(releases())), combination, **{question: after})
    commit_all(project)
    update(project)
    assert git("status", "--porcelain", at=project) == "", "a second update changes files"


# --- the user's view ---------------------------------------------------------------------------------------------


def append(path: Path, text: str) -> None:
    """Add text to the end of a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def release(template: Path, tag: str) -> None:
    """Commit a template's files, and tag them as a release, moving the tag if it exists."""
    commit_all(template)
    git("tag", "--force", tag, at=template)


@pytest.fixture
def newer(template: Path, tmp_path: Path) -> Path:
    """A template with two more releases: the current state, and one that adds a line to the end of a file."""
    folder = tmp_path / "newer"
    git("clone", "--quiet", str(template), str(folder), at=tmp_path)
    release(folder, "v98.0.0")  # a separate commit, because the current one may already have a tag
    append(folder / "template" / ".gitignore.jinja", "*.new\n")
    release(folder, "v99.0.0")
    return folder


@pytest.fixture
def clone(newer: Path, tmp_path: Path) -> Path:
    """A project of that template's second newest release."""
    return render(newer, tmp_path / "project", matrix.default_combination().data, "v98.0.0")


def run(*command: str, at: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does; the caller checks the result."""
    tools = str(Path(sys.executable).parent)
    path = f"{environment.pop('first', tools)}:{tools}:{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=at,
        env=os.environ | environment | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


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
    conflicts, new, look, _, commit = left_to_do(run("copier", "update", "--defaults", at=clone).stdout)
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
    """Removing DRF needs no migration; an answers file of an older release lacks the fingerprints."""
    for before, after in ((False, True), (True, False)):
        project = render(newer, tmp_path / f"{before}", matrix.pick(use_drf=before).data, "v98.0.0")
        said = run("copier", "update", "--defaults", f"--data=use_drf={after}", at=project).stdout
        assert ("tables have changed" in said) == after, said
    git("reset", "--quiet", "--hard", at=project)
    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text(encoding="utf-8").partition("made_for:")[0], encoding="utf-8")
    commit_all(project)
    said = run("copier", "update", "--defaults", at=project).stdout
    assert "make lock" in said
    assert "tables have changed" not in said


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


def answer(project: Path, name: str, value: str) -> None:
    """Change an answer by hand, and commit it."""
    path = project / ".copier-answers.yml"
    answers = re.sub(f"(?m)^{name}: .+$", f"{name}: {value}", path.read_text(encoding="utf-8"))
    path.write_text(answers, encoding="utf-8")
    commit_all(project)


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


# --- the weekly workflow -------------------------------------------------------------------------------------------

TOKEN = "the-token-that-may-write"
# Stand-ins for a runner's tools. Those that run fetched code log everything that it could read.
TOOLS = {
    "pipx": 'env >> "$NOTES"; cat .git/config >> "$NOTES" || true; shift 2; exec copier "$@"',
    "docker": 'env >> "$NOTES"; cat .git/config >> "$NOTES"; echo "# Locked." >> requirements.txt',
    "gh": 'test "$GH_TOKEN"; echo "$@" >> "$ASKED"',
}


class Weekly:
    """Runs update.yml with TOOLS, and with a repository and a folder in place of GitHub's."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.jobs = workflow(project, "update.yml")["jobs"]
        self.folder = folder
        self.origin = folder / "origin"
        git("clone", "--quiet", "--bare", str(project), str(self.origin), at=folder)
        (folder / "tools").mkdir()
        for name, does in TOOLS.items():
            (folder / "tools" / name).write_text(f"#!/bin/sh\nset -e\n{does}\n", encoding="utf-8")
            (folder / "tools" / name).chmod(0o755)

    def run(self, fails: bool = False) -> str:
        """Run each job in its own folder, and return what they printed; AssertionError unless they end as expected."""
        known = {"secrets.UPDATE_TOKEN": "", "github.token": TOKEN}
        said = []
        for name, job in self.jobs.items():
            if not value(job.get("if", "'yes'"), known):
                continue
            machine = Path(tempfile.mkdtemp(dir=self.folder))
            for folder in ("work", "temp"):
                (machine / folder).mkdir()
            (machine / "output").touch()
            known["runner.temp"] = str(machine / "temp")
            for step in job["steps"]:
                if not value(step.get("if", "'yes'"), known):
                    continue
                ended = self.step(step, machine, known)
                said.append(ended.stdout)
                if ended.returncode:
                    assert fails, ended.stdout
                    return "".join(said)
                written = (line.split("=", 1) for line in (machine / "output").read_text(encoding="utf-8").splitlines())
                known |= {f"steps.{step.get('id')}.outputs.{output}": text for output, text in written}
            outputs = filled_in(job.get("outputs", {}), known)
            known |= {f"needs.{name}.outputs.{output}": text for output, text in outputs.items()}
        assert not fails, said
        return "".join(said)

    def step(self, step: dict[str, Any], machine: Path, known: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run one step."""
        used, _, _ = step.get("uses", "").partition("@")
        options = filled_in(step.get("with", {}), known)
        if used == "actions/checkout":
            ended = run("git", "clone", "--quiet", str(self.origin), "work", at=machine)
            if options.get("persist-credentials") != "False":
                git("config", "http.extraheader", options.get("token", TOKEN), at=machine / "work")
            return ended
        if used:
            here, there = options["path"], str(self.folder / options["name"])
            source, target = {
                "actions/upload-artifact": (here, there),
                "actions/download-artifact": (there, here),
            }[used]
            return run("cp", "--recursive", "--no-target-directory", source, target, at=machine)
        return run(
            *("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]),
            at=machine / "work",
            first=str(self.folder / "tools"),
            RUNNER_TEMP=known["runner.temp"],
            GITHUB_WORKSPACE=str(machine / "work"),
            GITHUB_OUTPUT=str(machine / "output"),
            NOTES=str(self.folder / "notes"),
            ASKED=str(self.folder / "asked"),
            **filled_in(step.get("env", {}), known),
        )

    def asked(self) -> list[str]:
        """Return the arguments of each call of `gh`."""
        path = self.folder / "asked"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def body(self) -> str:
        """Return the text of the pull request."""
        return (self.folder / "update" / "body").read_text(encoding="utf-8")


@pytest.mark.parametrize("conflict", [False, True])
def test_the_weekly_workflow_opens_one_pull_request(conflict: bool, newer: Path, clone: Path, tmp_path: Path) -> None:
    if conflict:
        append(clone / ".gitignore", "*.ours\n")
        commit_all(clone)
    append(newer / "template" / "pyproject.toml.jinja", "# New.\n")
    release(newer, "v99.0.0")
    weekly = Weekly(clone, tmp_path)
    for _ in range(1 if conflict else 2):
        weekly.run()
    [asked] = weekly.asked()
    assert asked.startswith("pr create --head slipway-v99.0.0 ")
    assert ("--draft" in asked) == conflict
    assert "What is left to do" in weekly.body()
    assert (".gitignore\n" in weekly.body()) == conflict
    assert "*.new" in git("show", "slipway-v99.0.0:.gitignore", at=weekly.origin)
    assert ("# Locked." in git("show", "slipway-v99.0.0:requirements.txt", at=weekly.origin)) != conflict
    notes = (tmp_path / "notes").read_text(encoding="utf-8")
    assert "RUNNER_TEMP=" in notes
    assert TOKEN not in notes, "fetched code could read the token"


def test_it_lists_what_has_changed_in_files_that_are_gone(newer: Path, clone: Path, tmp_path: Path) -> None:
    git("mv", "accounts/admin.py", "accounts/administration.py", at=clone)
    git("rm", "--quiet", "config/mail.py", "serve.py", at=clone)
    commit_all(clone)
    for name in ("accounts/admin.py", "config/mail.py", "manage.py"):
        append(newer / "template" / name, f"# New in {name}.\n")
    release(newer, "v99.0.0")
    weekly = Weekly(clone, tmp_path)
    weekly.run()
    _, _, missed = weekly.body().partition("files that you have renamed or deleted.")
    listed = re.findall(r"(?m)^\+# New in (\S+)\.$", missed)
    assert listed == ["accounts/admin.py", "config/mail.py"]
    assert "serve.py" not in missed
    assert "manage.py" in git("diff", "--name-only", "main", "slipway-v99.0.0", at=weekly.origin)


def test_it_says_what_to_do_where_a_version_needs_trust(newer: Path, clone: Path, tmp_path: Path) -> None:
    migrations = [{"version": "v99.0.0", "command": ["true"]}]
    append(newer / "copier.yml", yaml.safe_dump({"_migrations": migrations}))
    release(newer, "v99.0.0")
    weekly = Weekly(clone, tmp_path)
    [told] = re.findall("::error::(.*)", weekly.run(fails=True))
    assert "run uvx copier update --defaults --trust" in told
    assert weekly.asked() == []


def test_it_has_nothing_to_do_for_a_prerelease(newer: Path, tmp_path: Path) -> None:
    release(newer, "v100.0.0rc1")
    project = render(newer, tmp_path / "project", matrix.default_combination().data, "v100.0.0rc1")
    weekly = Weekly(project, tmp_path)
    [told] = re.findall("::notice::(.*)", weekly.run())
    assert "No release is newer than v100.0.0rc1" in told
    assert weekly.asked() == []


# --- line ends -----------------------------------------------------------------------------------------------------


@pytest.fixture
def crlf(tmp_path: Path) -> dict[str, str]:
    """An environment in which git writes CRLF into checkouts, as with Git for Windows."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[core]\nautocrlf = true\n[user]\nname = Test\nemail = test@example.com\n", encoding="utf-8"
    )
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}


def test_a_project_is_the_same_where_git_writes_crlf(newer: Path, tmp_path: Path, crlf: dict[str, str]) -> None:
    """Copies, clones and updates there are byte for byte the same as elsewhere."""
    combination = matrix.pick(database="postgres", use_celery=True)
    elsewhere = render(newer, tmp_path / "elsewhere", combination.data, "v98.0.0")
    data = [f"--data={question}={answer}" for question, answer in combination.data.items()]
    copy = ["copier", "copy", "--defaults", "--vcs-ref", "v98.0.0", *data, str(newer), str(tmp_path / "copied")]
    assert run(*copy, at=tmp_path, **crlf).returncode == 0
    commit = "git init --quiet --initial-branch main && git add --all && git commit --quiet --message Start"
    assert run("sh", "-ec", commit, at=tmp_path / "copied", **crlf).returncode == 0
    assert run("git", "clone", "--quiet", "copied", "cloned", at=tmp_path, **crlf).returncode == 0
    cloned = tmp_path / "cloned"
    for name in files(elsewhere):
        for other in (tmp_path / "copied", cloned):
            assert (other / name).read_bytes() == (elsewhere / name).read_bytes(), name
    said = run("make", "secrets", at=cloned, **crlf)
    assert said.returncode == 0, said.stdout
    assert not any(b"\r" in secret.read_bytes() for secret in (cloned / "secrets").iterdir())
    said = run("copier", "update", "--defaults", at=cloned, **crlf)
    assert said.returncode == 0, said.stdout
    changed = run("git", "status", "--porcelain", at=cloned, **crlf).stdout.splitlines()
    assert changed == [" M .copier-answers.yml", " M .gitignore"]
    assert not any(b"\r" in (cloned / name).read_bytes() for name in files(cloned))


def test_a_checkout_with_crlf_updates_to_the_same(template: Path, tmp_path: Path, crlf: dict[str, str]) -> None:
    """An edited project of a release without .gitattributes."""
    project = render(template, tmp_path / "project", matrix.default_combination().data, next(iter(releases())))
    edit(project)
    commit_all(project)
    assert run("git", "clone", "--quiet", "project", "cloned", at=tmp_path, **crlf).returncode == 0
    cloned = tmp_path / "cloned"
    assert b"\r\n" in (cloned / "manage.py").read_bytes()
    said = run("copier", "update", "--defaults", "--vcs-ref", "HEAD", at=cloned, **crlf)
    assert said.returncode == 0, said.stdout
    update(project)
    for each in (project, cloned):
        assert run("git", "add", "--all", at=each, **crlf).returncode == 0
    assert run("git", "write-tree", at=cloned, **crlf).stdout == run("git", "write-tree", at=project, **crlf).stdout


# --- what the template must not do -------------------------------------------------------------------------------


@pytest.fixture
def moving(template: Path, tmp_path: Path) -> tuple[Path, str]:
    """A template whose next release moves a file and drops another, and the tag of that release."""
    clone = tmp_path / "moving"
    git("clone", "--quiet", str(template), str(clone), at=tmp_path)
    [before] = (clone / "template").glob("*Caddyfile*")
    after = before.with_name(before.name.replace("Caddyfile", "Proxyfile"))
    git("mv", str(before), str(after), at=clone)
    git("rm", "--quiet", "template/static/favicon.svg", at=clone)
    with after.open("a", encoding="utf-8") as proxyfile:
        proxyfile.write("# New.\n")
    commit_all(clone)
    git("tag", "v99.0.0", at=clone)
    return clone, "v99.0.0"


def test_a_file_that_moves_needs_a_migration(moving: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"deletes .*Caddyfile"):
        prove(moving[0], tmp_path / "lost", next(iter(releases())), matrix.default_combination())


def release_that_moves(template: Path, version: str, *moves: list[str]) -> None:
    """Release a version of the template with migrations for these moves, after existing migrations."""
    document = template / "copier.yml"
    script = "{{ _copier_conf.src_path }}/hooks/moved.py"
    entries = [{"version": version, "command": ["{{ _copier_python }}", script, *names]} for names in moves]
    text = document.read_text(encoding="utf-8")
    head = "" if "\n_migrations:\n" in text else "_migrations:\n"
    before, mark, after = text.partition("# --- given answers")
    document.write_text(before + head + yaml.safe_dump(entries) + mark + after, encoding="utf-8")
    commit_all(template)
    git("tag", "--force", version, at=template)


def moving_file(template: Path, old: str, new: str, *, line: str = "") -> None:
    """Move the template's file that matches a pattern, and add a line at its top."""
    [before] = (template / "template").glob(old)
    after = template / "template" / (new + before.suffix * (before.suffix == ".jinja"))
    after.parent.mkdir(exist_ok=True)
    git("mv", str(before), str(after), at=template)
    after.write_text(line + after.read_text(encoding="utf-8"), encoding="utf-8")


@pytest.fixture
def moved_twice(template: Path, tmp_path: Path) -> Path:
    """A template with two more releases: the first moves files and drops one, the second moves one of them again."""
    clone = tmp_path / "moved-twice"
    git("clone", "--quiet", str(template), str(clone), at=tmp_path)
    moving_file(clone, "*Caddyfile*", "Proxyfile")
    moving_file(clone, "templates/locked.html", "templates/closed.html", line="<!-- Theirs. -->\n")
    moving_file(clone, "config/mail.py", "{% if on_swarm %}deploy{% endif %}/mail.py")
    moving_file(clone, ".env.example*", ".env.sample")
    git("rm", "--quiet", "template/static/favicon.svg", at=clone)
    moves = [
        ["Caddyfile", "Proxyfile"],
        ["templates/locked.html", "templates/closed.html"],
        ["config/mail.py", "deploy/mail.py"],
        [".env.example", ".env.sample"],
        ["static/favicon.svg"],
    ]
    release_that_moves(clone, "v98.0.0", *moves)
    moving_file(clone, "Proxyfile*", "Frontfile", line="# New.\n")
    release_that_moves(clone, "v99.0.0", ["Proxyfile", "Frontfile"])
    return clone


def write_at(end: str, name: str, project: Path) -> None:
    """Add a team's line to a file."""
    path = project / name
    text = path.read_text(encoding="utf-8")
    path.write_text("# Ours.\n" + text if end == "start" else text + "# Ours.\n", encoding="utf-8")


def test_migrations_carry_edits_over(moved_twice: Path, tmp_path: Path) -> None:
    oldest = next(iter(releases()))
    data = known(moved_twice, oldest, matrix.default_combination().data)
    project = render(moved_twice, tmp_path / "project", data, oldest)
    for name in ("templates/locked.html", "config/mail.py", "static/favicon.svg"):
        write_at("start", name, project)
    write_at("end", "Caddyfile", project)
    commit_all(project)
    with pytest.raises(copier.errors.UnsafeTemplateError, match="migrations"):
        update(project)
    assert git("status", "--porcelain", at=project) == ""
    update(project, trust=True)
    # Moved twice: the edits are in the file's newest place.
    front = (project / "Frontfile").read_text(encoding="utf-8")
    assert front.startswith("# New.\n")
    assert front.endswith("# Ours.\n")
    assert not (project / "Proxyfile").exists()
    assert not (project / "Caddyfile").exists()
    # git also reports the conflict, until it is resolved.
    assert git("diff", "--name-only", "--diff-filter=U", at=project) == "templates/closed.html"
    closed = (project / "templates" / "closed.html").read_text(encoding="utf-8")
    assert "<<<<<<< before updating\n# Ours.\n=======\n<!-- Theirs. -->\n>>>>>>> after updating\n" in closed
    assert not (project / "templates" / "locked.html").exists()
    # Edited files stay if the template has dropped them, or has them only for other answers.
    for name in ("config/mail.py", "static/favicon.svg"):
        assert (project / name).read_text(encoding="utf-8").startswith("# Ours.\n")


def test_edits_of_the_release_between_are_carried_over(moved_twice: Path, tmp_path: Path) -> None:
    project = render(moved_twice, tmp_path / "project", matrix.default_combination().data, "v98.0.0")
    write_at("end", "Proxyfile", project)
    commit_all(project)
    update(project, trust=True)
    assert (project / "Frontfile").read_text(encoding="utf-8").endswith("# Ours.\n")
    assert git("status", "--porcelain", at=project).splitlines() == [
        "M .copier-answers.yml",
        " D Proxyfile",
        "?? Frontfile",
    ]


def test_an_update_over_migrations_is_proved_as_any_other(
    moved_twice: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EDITS, ".env.sample", EDITS[".env.example"])
    monkeypatch.delitem(EDITS, ".env.example")
    project = prove(moved_twice, memory, next(iter(releases())), matrix.default_combination())
    assert (project / ".env.sample").read_text(encoding="utf-8").endswith("# TAGLINE=Ours\n")


def test_every_migration_of_the_database_counts() -> None:
    """hooks/macros.jinja must include every migration, because the message after an update depends on it."""
    known = (ROOT / "hooks" / "macros.jinja").read_text(encoding="utf-8")
    migrations = [path for path in (ROOT / "template").rglob("migrations/*.py*") if path.name[0].isdigit()]
    assert migrations
    for path in migrations:
        assert f"include '{path.relative_to(ROOT)}'" in known, path
