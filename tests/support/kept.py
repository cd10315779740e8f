"""What running sites depend on from release to release: each rule raises AssertionError if it is broken.

A rule compares a project's files, as an old release renders them, with the current ones: name -> text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import yaml

Files = Mapping[str, str]

# How many lines of each release's settings.py conflict with an update if a team has edited them. To avoid more of them,
# keep each setting on one line, and end a list with a line that never changes. If more are justified, raise the number.
SETTINGS = {
    "v0.1.0": {"sqlite": 168, "postgres": 165, "mysql": 166, "mariadb": 166},
    "v0.2.0": {"sqlite": 170, "postgres": 167, "mysql": 168, "mariadb": 168},
}


def migrations_stay(before: Files, after: Files) -> None:
    """The template's migrations stay the same: databases have applied them, and teams have added their own."""
    old, new = ({name: text for name, text in each.items() if "/migrations/" in name} for each in (before, after))
    changed = {name for name in old if new.get(name) != old[name]}
    assert not changed, f"{changed} has been applied to databases: do not change it"
    added = set(new) - set(old)
    assert not added, f"{added} conflicts with migrations that teams have added: put new tables into a new app"


def servers_stay(before: Files, after: Files) -> None:
    """Each server's image stays the same: another one may not start with the existing data."""
    old, new = (
        {name: service.get("image") for name, service in yaml.safe_load(each["compose.yaml"])["services"].items()}
        for each in (before, after)
    )
    changed = {f"{name}: {image} -> {new.get(name)}" for name, image in old.items() if new.get(name) != image}
    assert not changed, f"{changed}: existing data needs an upgrade path, with a test"


def variables_stay(before: Files, after: Files) -> None:
    """Every variable is still read: hosts set them in files that no update changes."""
    old, new = (set(re.findall(r"(?m)^(?:# )?([A-Z_]+)=", each[".env.example"])) for each in (before, after))
    assert old <= new, f"{old - new} is set on existing hosts: keep reading it"


def settings_can_be_edited(before: Files, after: Files, limit: int) -> None:
    """At most `limit` lines of settings.py conflict with an update if a team has edited them."""
    found = conflicting(before["config/settings.py"], after["config/settings.py"])
    assert len(found) <= limit, f"config/settings.py: {len(found)} lines conflict, and {limit} may: {found}"


def conflicting(before: str, after: str) -> list[int]:
    """Return the numbers of the lines in `before` whose edit conflicts: those that change, and their neighbours."""
    old, new = before.splitlines(), after.splitlines()
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    touched = {line for kind, start, end, *_ in changes if kind != "equal" for line in range(start, end + 2)}
    return sorted(touched & set(range(1, len(old) + 1)))
