"""Projects where git writes CRLF into every checkout, as Git for Windows does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import matrix
from tests.support.releases import commit_all, releases
from tests.support.updates import edit, files, release, render, run, update

pytestmark = pytest.mark.rotates(seconds=28, touched_by=["*.gitattributes*", "template/scripts/*", "hooks/secrets/*"])


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
    run("git", "config", "--global", "core.autocrlf", "input", at=cloned, **crlf)  # as the changelog says
    said = run("copier", "update", "--defaults", "--vcs-ref", "HEAD", at=cloned, **crlf)
    assert said.returncode == 0, said.stdout
    update(project)
    for each in (project, cloned):
        assert run("git", "add", "--all", at=each, **crlf).returncode == 0
    assert run("git", "write-tree", at=cloned, **crlf).stdout == run("git", "write-tree", at=project, **crlf).stdout


@pytest.mark.parametrize(("autocrlf", "conflicts"), [("true", ["accounts/api.py"]), ("input", [])])
def test_an_edit_next_to_a_change(
    autocrlf: str, conflicts: list[str], template: Path, tmp_path: Path, crlf: dict[str, str]
) -> None:
    """Copier fetches the old release of the template by git: one without .gitattributes gets CRLF, unlike the project.

    The changelog says how to fetch it with LF, for no file of a project has a say in that.
    """
    project = render(template, tmp_path / "project", matrix.pick(use_drf=True).data, next(iter(releases())))
    path = project / "accounts" / "api.py"
    opening, blank, rest = path.read_text(encoding="utf-8").partition("\n\n")  # the docstring has been reworded since
    path.write_text(f"{opening}{blank}# Ours.\n{rest}", encoding="utf-8")
    commit_all(project)
    assert run("git", "clone", "--quiet", "project", "cloned", at=tmp_path, **crlf).returncode == 0
    cloned = tmp_path / "cloned"
    run("git", "config", "--global", "core.autocrlf", autocrlf, at=cloned, **crlf)
    said = run("copier", "update", "--defaults", "--vcs-ref", "HEAD", at=cloned, **crlf)
    assert said.returncode == 0, said.stdout
    unmerged = run("git", "diff", "--name-only", "--diff-filter=U", at=cloned, **crlf).stdout.split()
    assert unmerged == conflicts
    assert b"# Ours." in (cloned / "accounts" / "api.py").read_bytes()


def test_an_edit_next_to_a_later_change(newer: Path, tmp_path: Path, crlf: dict[str, str]) -> None:
    """Updating from a release that has .gitattributes takes no extra step."""
    project = render(newer, tmp_path / "project", matrix.default_combination().data, "v98.0.0")
    for path, ours in ((newer / "template" / "manage.py", ""), (project / "manage.py", "# Ours.\n")):
        opening, blank, rest = path.read_text(encoding="utf-8").partition("\n\n")
        path.write_text(f"{opening}{'' if ours else '  # Theirs.'}{blank}{ours}{rest}", encoding="utf-8")
    release(newer, "v99.0.0")
    commit_all(project)
    assert run("git", "clone", "--quiet", "project", "cloned", at=tmp_path, **crlf).returncode == 0
    said = run("copier", "update", "--defaults", at=tmp_path / "cloned", **crlf)
    assert said.returncode == 0, said.stdout
    text = (tmp_path / "cloned" / "manage.py").read_text(encoding="utf-8")
    assert "# Theirs.\n\n# Ours.\n" in text
    assert "<<<<" not in text
