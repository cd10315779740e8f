"""`copier update`, from every release, over the edits that a team makes: nothing of theirs is lost or conflicts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

from tests import matrix
from tests.matrix import ROOT, Combination
from tests.releases import commit_all, git, releases

# Written once, then the project's own.
KEPT = tuple(yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))["_skip_if_exists"])

NEW_FILES = {
    "blog/__init__.py": "",
    "blog/models.py": '''"""Posts."""

from django.db import models


class Post(models.Model):
    """A post."""

    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title
''',
    "blog/migrations/__init__.py": "",
    "blog/migrations/0001_initial.py": """from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Post",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=100)),
            ],
        ),
    ]
""",
    "accounts/migrations/0002_user_nickname.py": """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.AddField("user", "nickname", models.CharField(blank=True, default="", max_length=30)),
    ]
""",
}
# What a team writes: file -> texts, each with what it becomes. An empty one stands for the end of the file.
EDITS: dict[str, list[tuple[str, str]]] = {
    "accounts/models.py": [
        (
            "from django.contrib.auth.models import AbstractUser\n",
            "from django.contrib.auth.models import AbstractUser\nfrom django.db import models\n",
        ),
        ("", '\n    nickname = models.CharField(max_length=30, blank=True, default="")\n'),
    ],
    "config/settings.py": [
        ('    "accounts",\n', '    "accounts",\n    "blog",\n'),
        ('    "django.contrib.staticfiles",\n', '    "django.contrib.staticfiles",\n    "django.contrib.humanize",\n'),
        ("", '\nSITE_TAGLINE = "Ours"\n'),
    ],
    "config/urls.py": [
        (
            '    path("admin/", admin.site.urls),\n',
            '    path("admin/", admin.site.urls),\n    path("blog/", home),\n',
        ),
    ],
    "pyproject.toml": [
        ("finds no conflict.\n", 'finds no conflict.\n  "humanize>=4",\n'),
        ("# And here.\n", '# And here.\n  "factory-boy>=3",\n'),
    ],
    ".dockerignore": [("!accounts\n", "!accounts\n!blog\n"), ("", "notes\n")],
    "Dockerfile": [("--interval=30s", "--interval=20s")],
    "compose.yaml": [
        (
            "\nvolumes:\n",
            """
  mail:
    build: *build
    command: python -c "import time; time.sleep(3600)"
    healthcheck:
      test: "true"

volumes:
""",
        ),
        ("", "  mail:\n"),
    ],
    "Makefile": [("", "\nadmin: ## open the admin\n\txdg-open http://localhost:8000/admin/\n")],
    ".env.example": [("", "\n# --- ours ---\n\n# TAGLINE=Ours\n")],
    ".github/workflows/ci.yml": [("      - run: make lint\n", "      - run: make lint\n      - run: npm test\n")],
    "README.md": [
        (
            "make help               # all there is\n```\n",
            "make help               # all there is\n```\n\nAda knows more.\n",
        ),
        ("", "\n## Ours\n\nOn Fridays nobody deploys.\n"),
    ],
    "static/site.css": [("", "h1 {\n  color: rebeccapurple;\n}\n")],
    "templates/home.html": [("", "{# Ours. #}\n")],
}
LOCKED = dict.fromkeys(["requirements.txt", "requirements-dev.txt"], "humanize==4.0.0 --hash=sha256:00\n")


def edit(project: Path, locked: Mapping[str, str] = LOCKED) -> None:
    """Change a project as its team does: an app, a model, dependencies with their lock's lines, a service, words."""
    for name, text in NEW_FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, changes in EDITS.items():
        path = project / name
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"{name} lacks {old!r}"
            text = text.replace(old, new, 1) if old else text + new
        path.write_text(text, encoding="utf-8")
    for name, lines in locked.items():
        with (project / name).open("a", encoding="utf-8") as lock:
            lock.write(lines)


def render(template: Path, folder: Path, data: Mapping[str, Any], ref: str = "HEAD") -> Path:
    """Make a project of the template as it was at `ref`, in git."""
    copier.run_copy(str(template), folder, data=dict(data), vcs_ref=ref, defaults=True, quiet=True)
    git("init", "--quiet", "--initial-branch", "main", at=folder)
    commit_all(folder)
    return folder


def update(folder: Path, **answers: Any) -> None:
    """Run `copier update`, to the newest state of the template."""
    copier.run_update(folder, data=answers, vcs_ref="HEAD", defaults=True, overwrite=True, quiet=True)


def files(folder: Path) -> dict[str, str]:
    """Return every file of a repository, whether it is committed or not: name -> text."""
    names = git("ls-files", "--cached", "--others", "--deduplicate", at=folder).splitlines()
    return {name: (folder / name).read_text(encoding="utf-8") for name in names if (folder / name).exists()}


def moved(template: Path) -> set[str]:
    """Return the files that the template's migrations take care of: they may vanish from a project."""
    document = yaml.safe_load((template / "copier.yml").read_text(encoding="utf-8"))
    return {migration["command"][2] for migration in document.get("_migrations", [])}


def prove(template: Path, folder: Path, release: str, combination: Combination, **answers: Any) -> Path:
    """Update a project that was made at `release` and edited since, and return it.

    AssertionError unless it then is a project that is made anew, with these edits.
    """
    project = render(template, folder / release, combination.data, release)
    made = set(files(project))
    edit(project)
    commit_all(project)
    before = files(project)
    update(project, **answers)
    after = files(project)
    fresh = folder / "fresh"
    if not fresh.exists():  # every release comes to the same
        edit(render(template, fresh, combination.data | answers))
    newest = files(fresh)
    if not answers:
        lost = made - set(newest) - moved(template)
        assert not lost, f"an update from {release} deletes {lost}, edited or not: hooks/moved.py tells what to do"
    wanted = newest | {name: text for name, text in before.items() if any(Path(name).match(kept) for kept in KEPT)}
    assert git("ls-files", "--unmerged", at=project) == "", f"{combination.name} from {release}: conflicts"
    assert sorted(after) == sorted(wanted)
    for name, text in after.items():
        assert text == wanted[name], f"{combination.name} from {release}: {name} is not the newest with the edits"
    return project


def older(template: Path) -> list[str]:
    """Return the releases whose projects an update changes; the oldest is always among them."""
    tags = list(releases(template))
    parts = ["copier.yml", "template", "hooks"]
    return [tag for tag in tags if tag == tags[0] or git("diff", "--name-only", tag, "HEAD", "--", *parts, at=template)]


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in memory, where there is such: an update writes thousands of small files, and removes them."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="slipway-", dir=shared) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)  # Copier's own
        yield Path(folder)


def test_there_are_releases() -> None:
    assert releases(), "no release is in the history: this must be a whole clone, not a shallow one"


def test_an_update_keeps_every_edit(
    combination: Combination, template: Path, memory: Path, record: Callable[[str, str], None]
) -> None:
    changed = older(template)
    record("updates", f"from {', '.join(changed)}, no conflict")
    for release in changed:
        prove(template, memory, release, combination)


def toggles() -> list[tuple[str, Any, Any]]:
    """Return every answer that can be exchanged for another: question, before, after."""
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
    """And back again. Two files end in what only one host has: there a team's own last lines are a conflict."""
    for name in ("Makefile", ".env.example"):
        monkeypatch.delitem(EDITS, name)
    combination = matrix.pick(database="postgres", use_celery=True)
    project = prove(template, memory, next(iter(releases())), combination, deploy=deploy)
    commit_all(project)
    update(project, deploy="compose")
    assert git("ls-files", "--unmerged", at=project) == ""
    assert (project / "compose.production.yaml").exists()
    assert not (project / "deploy").exists()


@pytest.mark.parametrize(("question", "before", "after"), toggles())
def test_an_answer_can_be_changed(question: str, before: Any, after: Any, template: Path, memory: Path) -> None:
    everything = {"database": "postgres", "use_celery": True} if toggles().index((question, before, after)) % 2 else {}
    combination = matrix.pick(**everything | {question: before})
    project = prove(template, memory, next(iter(releases())), combination, **{question: after})
    commit_all(project)
    update(project)
    assert git("status", "--porcelain", at=project) == "", "a second update changes something"


# --- what a user meets ---------------------------------------------------------------------------------------------


@pytest.fixture
def newer(template: Path, tmp_path: Path) -> Path:
    """A template with two more releases: what it is now, and one that adds a line to the end of a file."""
    folder = tmp_path / "newer"
    git("clone", "--quiet", str(template), str(folder), at=tmp_path)
    commit_all(folder)  # what it is now may be a release, and two tags on one commit are one too many
    git("tag", "v98.0.0", at=folder)
    with (folder / "template" / ".gitignore.jinja").open("a", encoding="utf-8") as ignored:
        ignored.write("*.new\n")
    commit_all(folder)
    git("tag", "v99.0.0", at=folder)
    return folder


@pytest.fixture
def clone(newer: Path, tmp_path: Path) -> Path:
    """A project of that template's newest release but one."""
    return render(newer, tmp_path / "project", matrix.default_combination().data, "v98.0.0")


def run(*command: str, at: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does; the caller looks at the result."""
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


def test_the_readmes_commands(clone: Path) -> None:
    block = (clone / "README.md").read_text(encoding="utf-8").partition("## Updates")[2].partition("```sh\n")[2]
    check, take_over = [line.removeprefix("uvx ").partition("#")[0].split() for line in block.splitlines()[:2]]
    assert "Current version is 98.0.0, latest version is 99.0.0" in run(*check, at=clone).stdout
    said = run(*take_over, at=clone)
    assert said.returncode == 0, said.stdout
    commands = [line.partition("#")[0].strip() for line in said.stdout.splitlines() if line.startswith("    ")]
    assert commands == [
        "git status",
        "docker compose up --build",
        'git add --all && git commit --message "Update to Slipway v99.0.0"',
    ]
    commit_all(clone)
    assert "up-to-date" in run(*check, at=clone).stdout


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
    update(clone)
    commit_all(clone)
    refused("You are downgrading", "--vcs-ref", next(iter(releases())))
    shutil.rmtree(clone / ".git")
    refused("Only supported in git-tracked subprojects")


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
    git("tag", "--delete", "v99.0.0", at=newer)  # which leaves a commit after v98.0.0
    project = render(newer, tmp_path / "untagged", matrix.default_combination().data)
    said = run("copier", "update", "--defaults", at=project)
    assert "You are downgrading" in said.stdout
    assert git("status", "--porcelain", at=project) == ""
    git("tag", "v99.0.0", at=newer)
    assert run("copier", "update", "--defaults", at=project).returncode == 0


@pytest.mark.parametrize("conflict", [False, True])
def test_the_weekly_workflow_opens_one_pull_request(conflict: bool, clone: Path, tmp_path: Path) -> None:
    """Its own script, with a repository beside it for GitHub's, and stand-ins for what only a runner has."""
    if conflict:
        with (clone / ".gitignore").open("a", encoding="utf-8") as ignored:
            ignored.write("*.ours\n")
        commit_all(clone)
    git("init", "--quiet", "--bare", str(tmp_path / "origin"), at=tmp_path)
    git("remote", "add", "origin", str(tmp_path / "origin"), at=clone)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, does in {"pipx": 'shift 2; exec copier "$@"', "gh": f'echo "$@" >> {tmp_path}/asked'}.items():
        (tools / name).write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    workflow = yaml.safe_load((clone / ".github" / "workflows" / "update.yml").read_text(encoding="utf-8"))
    step = workflow["jobs"]["update"]["steps"][-1]
    assert step["shell"] == "bash"
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    for _ in range(2):
        said = run(*bash, at=clone, first=str(tools), RUNNER_TEMP=str(tmp_path))
        assert said.returncode == 0, said.stdout
        git("checkout", "--quiet", "--force", "main", at=clone)
    [asked] = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert asked.startswith("pr create --head slipway-v99.0.0 ")
    assert ("--draft" in asked) == conflict
    body = (tmp_path / "body").read_text(encoding="utf-8")
    assert "What is left to do" in body
    assert (".gitignore\n" in body) == conflict
    assert "*.new" in git("show", "slipway-v99.0.0:.gitignore", at=tmp_path / "origin")


# --- what the template must not do -------------------------------------------------------------------------------


@pytest.fixture
def moving(template: Path, tmp_path: Path) -> tuple[Path, str]:
    """A template whose next release, which is returned with it, moves a file and drops another."""
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


def test_a_migration_carries_edits_over(moving: tuple[Path, str], tmp_path: Path) -> None:
    template, version = moving
    command = ["{{ _copier_python }}", "{{ _copier_conf.src_path }}/hooks/moved.py"]
    migrations = [
        {"version": version, "command": [*command, *names]}
        for names in (["Caddyfile", "Proxyfile"], ["static/favicon.svg"])
    ]
    with (template / "copier.yml").open("a", encoding="utf-8") as document:
        yaml.safe_dump({"_migrations": migrations}, document)
    commit_all(template)
    git("tag", "--force", version, at=template)
    combination = matrix.default_combination()
    project = render(template, tmp_path / "project", combination.data, next(iter(releases())))
    for name in ("Caddyfile", "static/favicon.svg"):
        path = project / name
        path.write_text("# Ours.\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    commit_all(project)
    with pytest.raises(copier.errors.UnsafeTemplateError, match="migrations"):
        update(project)
    assert git("status", "--porcelain", at=project) == ""
    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=True)
    assert not (project / "Caddyfile").exists()
    proxyfile = (project / "Proxyfile").read_text(encoding="utf-8")
    assert proxyfile.startswith("# Ours.\n")
    assert proxyfile.endswith("# New.\n")
    assert "<<<<" not in proxyfile
    assert (project / "static" / "favicon.svg").read_text(encoding="utf-8").startswith("# Ours.\n")


def test_every_migration_of_the_database_counts() -> None:
    """The message after an update says that tables have changed: copier.yml must know all that changes them."""
    known = (ROOT / "copier.yml").read_text(encoding="utf-8")
    migrations = [path for path in (ROOT / "template").rglob("migrations/*.py*") if path.name[0].isdigit()]
    assert migrations
    for path in migrations:
        assert f"include '{path.relative_to(ROOT)}'" in known, path
