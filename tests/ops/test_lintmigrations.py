"""`make lint` warns of migrations that break the version before."""

import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import models
from django.db.migrations import Migration, operations
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from pytest_django import Settings

from ops.management.commands.lintmigrations import harms

POST: list[tuple[str, models.Field]] = [
    ("id", models.AutoField(primary_key=True)),
    ("title", models.CharField(max_length=50, null=True)),
]
MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    {comment}
    operations = [migrations.RunSQL("ALTER TABLE post DROP COLUMN title")]
"""


def said(*found: Operation) -> list[str]:
    """Return the harms of a migration with these operations, on a model `Post` that exists already."""
    state = ProjectState()
    state.add_model(ModelState("blog", "Post", POST))
    migration = type("Migration", (Migration,), {"operations": found})
    return list(harms(migration("0002", "blog"), state))


def alter(**options: Any) -> Operation:
    """Return an operation that changes the field `title`."""
    return operations.AlterField("post", "title", models.CharField(**{"max_length": 50, "null": True} | options))


@pytest.mark.parametrize(
    ("operation", "harm"),
    [
        (operations.DeleteModel("Post"), "deletes Post"),
        (operations.RenameModel("Post", "Article"), "renames the table of Post"),
        (operations.AlterModelTable("Post", "article"), "renames the table of Post"),
        (operations.RemoveField("post", "title"), "removes post.title"),
        (operations.RenameField("post", "title", "name"), "renames post.title"),
        (
            operations.AddField("post", "likes", models.IntegerField(default=0)),
            "adds post.likes with neither null=True nor a db_default",
        ),
        (alter(null=False), "restricts post.title"),
        (alter(unique=True), "restricts post.title"),
        (alter(max_length=40), "restricts post.title"),
        (alter(db_column="name"), "renames post.title"),
        (operations.AlterField("post", "title", models.IntegerField(null=True)), "restricts post.title"),
        (
            operations.AddConstraint("post", models.UniqueConstraint(fields=["title"], name="one")),
            "adds a constraint to post",
        ),
        (operations.RunSQL("ALTER TABLE post DROP COLUMN title"), "runs DROP COLUMN"),
        (
            operations.SeparateDatabaseAndState(database_operations=[operations.RemoveField("post", "title")]),
            "removes post.title",
        ),
    ],
)
def test_what_breaks_the_version_before(operation: Operation, harm: str) -> None:
    assert said(operation) == [harm]


@pytest.mark.parametrize(
    "operation",
    [
        operations.AddField("post", "likes", models.IntegerField(db_default=0)),
        operations.AddField("post", "likes", models.IntegerField(null=True)),
        operations.AddField("post", "tags", models.ManyToManyField("blog.Post")),
        operations.AddIndex("post", models.Index(fields=["title"], name="by_title")),
        alter(max_length=60),
        alter(verbose_name="The title"),
        operations.SeparateDatabaseAndState(state_operations=[operations.RemoveField("post", "title")]),
        operations.RunSQL("UPDATE post SET title = ''"),
    ],
)
def test_what_it_can_work_with(operation: Operation) -> None:
    assert said(operation) == []


def test_a_new_model_may_change_at_once() -> None:
    tag = operations.CreateModel("Tag", [("id", models.AutoField(primary_key=True))])
    assert said(tag, operations.AddField("tag", "name", models.CharField(max_length=50))) == []


@pytest.mark.parametrize("comment", ["# contract: no version reads it any more", "# expand"])
def test_a_comment_acknowledges(
    comment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    package = tmp_path / comment.strip("# ").partition(":")[0]
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "0001_initial.py").write_text(MIGRATION.format(comment=comment), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    settings.MIGRATION_MODULES = {"accounts": package.name}
    settings.BASE_DIR = tmp_path
    errors = StringIO()
    call_command("lintmigrations", stderr=errors, no_color=True)
    assert ("0001_initial.py runs DROP COLUMN" in errors.getvalue()) == (comment == "# expand")


def test_the_projects_own_break_nothing() -> None:
    errors = StringIO()
    call_command("lintmigrations", stderr=errors)
    assert errors.getvalue() == ""
