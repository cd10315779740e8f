"""Warn of migrations that break the version before, which serves while they run: see "Migrations" in README.md."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

# A comment in a migration whose author has made sure that no running version needs what it takes away.
ACKNOWLEDGED = re.compile(r"^\s*# contract\b", re.MULTILINE)
STATEMENTS = re.compile(r"\b(DROP (?:COLUMN|TABLE)|RENAME|SET NOT NULL)\b", re.IGNORECASE)


def harm(operation: Operation, app: str, before: ProjectState) -> str | None:
    """Return what an operation does that the version before cannot work with, or None."""
    match operation:
        case operations.DeleteModel(name=model):
            return f"deletes {model}"
        case operations.RenameModel(old_name=model) | operations.AlterModelTable(name=model):
            return f"renames the table of {model}"
        case operations.RemoveField(model_name=model, name=name):
            return f"removes {model}.{name}"
        case operations.RenameField(model_name=model, old_name=name):
            return f"renames {model}.{name}"
        case operations.AddField(model_name=model, name=name, field=field):
            filled = field.null or field.many_to_many or field.generated or field.has_db_default()
            return None if filled else f"adds {model}.{name} with neither null=True nor a db_default"
        case operations.AlterField(model_name=model, name=name, field=field):
            old = before.models[app, model.lower()].fields[name]
            if field.db_column != old.db_column:
                return f"renames {model}.{name}"
            narrower = (old.null and not field.null) or (field.unique and not old.unique)
            shorter = field.max_length and (old.max_length or field.max_length + 1) > field.max_length
            other = field.get_internal_type() != old.get_internal_type()
            return f"restricts {model}.{name}" if narrower or shorter or other else None
        case operations.AddConstraint(model_name=model):
            return f"adds a constraint to {model}"
        case operations.RunSQL(sql=sql) if found := STATEMENTS.search(str(sql)):
            return f"runs {found[1]}"
    return None


def harms(migration: Migration, state: ProjectState) -> Iterator[str]:
    """Yield what a migration does that the version before cannot work with, and add the migration to the state."""
    new: set[str] = set()  # models that no version uses yet
    for operation in migration.operations:
        parts = [operation]
        if isinstance(operation, operations.SeparateDatabaseAndState):
            parts = list(operation.database_operations)
        for each in parts:
            if isinstance(each, operations.CreateModel):
                new.add(each.name_lower)
                continue
            known = getattr(each, "model_name_lower", getattr(each, "name_lower", "")) not in new
            if known and (said := harm(each, migration.app_label, state)):
                yield said
        operation.state_forwards(migration.app_label, state)


class Command(BaseCommand):
    """Read the migrations of the project's own apps; no database is needed."""

    help = "Warns of migrations that break the version before."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each harm, except in migrations with the comment."""
        loader = MigrationLoader(None, ignore_no_migrations=True)
        state = ProjectState(real_apps=loader.unmigrated_apps)
        nodes = dict.fromkeys(node for leaf in loader.graph.leaf_nodes() for node in loader.graph.forwards_plan(leaf))
        warned = False
        for app, name in nodes:
            migration = loader.graph.nodes[app, name]
            found = list(harms(migration, state))
            file = Path(inspect.getfile(type(migration)))
            own = file.is_relative_to(settings.BASE_DIR)  # and not an installed package's
            if found and own and not ACKNOWLEDGED.search(file.read_text(encoding="utf-8")):
                warned = True
                self.stderr.write(f"{file.relative_to(settings.BASE_DIR)} {', '.join(found)}", self.style.WARNING)
        if warned:
            self.stderr.write('The version before serves meanwhile, and can fail: see "Migrations" in README.md.')
