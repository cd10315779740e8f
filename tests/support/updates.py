"""`copier update` of a team's project: the project, its edits, and the proof that none is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import copier
import yaml

from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.releases import commit_all, git, known, releases

# Files that updates never change.
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
# A team's edits: file -> old text -> new text. An empty old text stands for the end of the file.
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
        (
            '    "axes.middleware.AxesMiddleware",\n',
            '    "axes.middleware.AxesMiddleware",\n    "django.middleware.http.ConditionalGetMiddleware",\n',
        ),
        (
            '                "django.contrib.messages.context_processors.messages",\n',
            '                "django.contrib.messages.context_processors.messages",\n'
            '                "django.template.context_processors.i18n",\n',
        ),
        ('env.str("TIME_ZONE", default="UTC")', 'env.str("TIME_ZONE", default="Europe/Berlin")'),
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
        ("", "\n## Ours\n\nNo deploys on Fridays.\n"),
    ],
    "static/site.css": [("", "h1 {\n  color: rebeccapurple;\n}\n")],
    "templates/home.html": [("", "{# Ours. #}\n")],
}
LOCKED = dict.fromkeys(["requirements.txt", "requirements-dev.txt"], "humanize==4.0.0 --hash=sha256:00\n")


def edit(project: Path, locked: Mapping[str, str] = LOCKED, moves: Mapping[str, str | None] | None = None) -> None:
    """Edit a project as a team does: an app, a model, dependencies with their lock's lines, a service, texts.

    `moves` are files that the template has moved since; an older project has them under their old names.
    """
    before = {new: old for old, new in (moves or {}).items() if new}
    for name, text in NEW_FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, changes in EDITS.items():
        path = project / name
        if not path.exists():
            path = project / before.get(name, name)
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"{name} lacks {old!r}"
            text = text.replace(old, new, 1) if old else text + new
        path.write_text(text, encoding="utf-8")
    for name, lines in locked.items():
        with (project / name).open("a", encoding="utf-8") as lock:
            lock.write(lines)


def render(template: Path, folder: Path, data: Mapping[str, Any], ref: str = "HEAD") -> Path:
    """Render a project from the template at `ref`, and commit it."""
    copier.run_copy(str(template), folder, data=dict(data), vcs_ref=ref, defaults=True, quiet=True)
    git("init", "--quiet", "--initial-branch", "main", at=folder)
    commit_all(folder)
    return folder


def update(folder: Path, *, trust: bool = False, **answers: Any) -> None:
    """Run `copier update` to the newest state of the template; with `trust`, also its migrations."""
    copier.run_update(folder, data=answers, vcs_ref="HEAD", defaults=True, overwrite=True, quiet=True, unsafe=trust)


def files(folder: Path) -> dict[str, str]:
    """Return every file of a repository, committed or not: name -> text."""
    names = git("ls-files", "--cached", "--others", "--deduplicate", at=folder).splitlines()
    return {name: (folder / name).read_text(encoding="utf-8") for name in names if (folder / name).exists()}


def moved(template: Path) -> dict[str, str | None]:
    """Return the files that the template's migrations move: old name -> new name, or None for a dropped file."""
    document = yaml.safe_load((template / "copier.yml").read_text(encoding="utf-8"))
    names = [migration["command"][2:] for migration in document.get("_migrations", [])]
    return {old: new[0] if new else None for old, *new in names}


def left_behind(template: Path) -> set[str]:
    """Return the files and folders that the template has no more, and that an update leaves as the team has them."""
    document = yaml.safe_load((template / "copier.yml").read_text(encoding="utf-8"))
    always = [lines for lines in document["_exclude"] if "{%" not in lines]
    return {line.removeprefix("/") for lines in always for line in lines.splitlines()}


def prove(template: Path, folder: Path, release: str, combination: Combination, **answers: Any) -> Path:
    """Update an edited project of `release`, and return it.

    Answers of the combination that the release does not know yet are given in the update.
    AssertionError unless the result equals a fresh render with the same edits.
    """
    then = known(template, release, combination.data)
    defaults = {name: question.get("default") for name, question in matrix.questions().items()}
    answers = {name: now for name, now in combination.data.items() if (defaults | then)[name] != now} | answers
    project = render(template, folder / release, then, release)
    made = set(files(project))
    moves = moved(template)
    edit(project, moves=moves)
    left = {name for name in made if {name, *map(str, Path(name).parents)} & left_behind(template)}
    for name in left:
        with (project / name).open("a", encoding="utf-8") as file:
            file.write("# Ours.\n")
    commit_all(project)
    before = files(project)
    update(project, trust=bool(moves), **answers)
    after = files(project)
    fresh = folder / "fresh"
    if not fresh.exists():  # the result is the same for every release
        edit(render(template, fresh, combination.data | answers))
    newest = files(fresh)
    if not answers:
        lost = made - set(newest) - set(moves) - left
        assert not lost, (
            f"an update from {release} deletes {lost}, with the edits in them: see the docstring of hooks/moved.py"
        )
    wanted = newest | {name: text for name, text in before.items() if any(Path(name).match(kept) for kept in KEPT)}
    if left:
        wanted |= {name: before[name] for name in left}
        wanted["conftest.py"] = (template / "template" / "conftest.py").read_text(encoding="utf-8")
    assert git("ls-files", "--unmerged", at=project) == "", f"{combination.name} from {release}: conflicts"
    assert sorted(after) == sorted(wanted)
    for name, text in after.items():
        assert text == wanted[name], f"{combination.name} from {release}: {name} is not the new file with the edits"
    return project


def older(template: Path) -> list[str]:
    """Return the releases whose projects an update changes, always including the oldest."""
    tags = list(releases(template))
    parts = ["copier.yml", "template", "hooks"]
    return [tag for tag in tags if tag == tags[0] or git("diff", "--name-only", tag, "HEAD", "--", *parts, at=template)]


def milestones(tags: list[str], turn: int | None = None) -> list[str]:
    """Return the oldest of some releases, the newest, and the one whose `turn` it is, or else the middle one."""
    between = len(tags) // 2 if turn is None else turn % len(tags)
    return list(dict.fromkeys([tags[0], tags[between], tags[-1]]))


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


def append(path: Path, text: str) -> None:
    """Add text to the end of a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def release(template: Path, tag: str) -> None:
    """Commit a template's files, and tag them as a release, moving the tag if it exists."""
    commit_all(template)
    git("tag", "--force", tag, at=template)


def answer(project: Path, name: str, value: str) -> None:
    """Change an answer by hand, and commit it."""
    path = project / ".copier-answers.yml"
    answers = re.sub(f"(?m)^{name}: .+$", f"{name}: {value}", path.read_text(encoding="utf-8"))
    path.write_text(answers, encoding="utf-8")
    commit_all(project)
