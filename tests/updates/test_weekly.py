"""The weekly workflow, which opens a pull request for a new version of the template."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import matrix
from tests.support.releases import commit_all, git
from tests.support.updates import append, release, render, run
from tests.support.workflows import filled_in, value, workflow

pytestmark = pytest.mark.rotates(seconds=36, touched_by=["*/update.yml", "tests/support/workflows.py"])
TOKEN = "the-token-that-may-write"
# Stand-ins for a runner's tools. Those that run fetched code log everything that it could read.
TOOLS = {
    "pipx": 'env >> "$NOTES"; cat .git/config >> "$NOTES" || true; shift 2; exec copier "$@"',
    "docker": 'env >> "$NOTES"; cat .git/config >> "$NOTES"\n'
    'case "$*" in "compose version"*) echo 2.26 ;; run*) echo "# Locked." >> requirements.txt ;; esac',
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
        known = {"secrets.UPDATE_TOKEN": "", "github.token": TOKEN, "secrets.INDEX_URL": "", "vars.CA_CERT": ""}
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
    git("rm", "--quiet", "ops/mail.py", "ops/serve.py", at=clone)
    commit_all(clone)
    for name in ("accounts/admin.py", "ops/mail.py", "manage.py"):
        append(newer / "template" / name, f"# New in {name}.\n")
    release(newer, "v99.0.0")
    weekly = Weekly(clone, tmp_path)
    weekly.run()
    _, _, missed = weekly.body().partition("files that you have renamed or deleted.")
    listed = re.findall(r"(?m)^\+# New in (\S+)\.$", missed)
    assert listed == ["accounts/admin.py", "ops/mail.py"]
    assert "ops/serve.py" not in missed
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
