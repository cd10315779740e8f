"""What a release of the template may do to its files, and what carries edits over."""

from __future__ import annotations

from pathlib import Path

import copier
import pytest
import yaml

from tests.support import matrix
from tests.support.matrix import ROOT
from tests.support.releases import commit_all, git, known, releases
from tests.support.updates import EDITS, prove, render, update

pytestmark = pytest.mark.rotates(seconds=30, touched_by=["copier.yml", "hooks/moved.py", "tests/support/updates.py"])


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
    moving_file(clone, "config/wsgi.py", "{% if on_swarm %}deploy{% endif %}/wsgi.py")
    moving_file(clone, ".env.example*", ".env.sample")
    git("rm", "--quiet", "template/static/favicon.svg", at=clone)
    moves = [
        ["Caddyfile", "Proxyfile"],
        ["templates/locked.html", "templates/closed.html"],
        ["config/wsgi.py", "deploy/wsgi.py"],
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
    for name in ("templates/locked.html", "config/wsgi.py", "static/favicon.svg"):
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
    for name in ("config/wsgi.py", "static/favicon.svg"):
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
