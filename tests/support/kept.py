"""What a site that runs counts on, from one release to the next: each rule raises AssertionError where it is broken.

A rule compares the files of a project as a release made them with those of today: name -> text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import yaml

Files = Mapping[str, str]

# How many lines of settings.py, of the file as a release had it, today conflict with a team's edit. More of them is no
# accident: keep a setting on one line and a list's last line its own, or look at them and write the number here.
SETTINGS = {
    "v0.1.0": {"sqlite": 56, "postgres": 53, "mysql": 54, "mariadb": 54},
    "v0.2.0": {"sqlite": 23, "postgres": 18, "mysql": 21, "mariadb": 21},
}


def migrations_stay(before: Files, after: Files) -> None:
    """The template's migrations are the same: databases have them, and teams wrote their own on top of them."""
    old, new = ({name: text for name, text in each.items() if "/migrations/" in name} for each in (before, after))
    changed = {name for name in old if new.get(name) != old[name]}
    assert not changed, f"{changed} has run in databases: it must stay as it is"
    added = set(new) - set(old)
    assert not added, f"{added} forks the migrations of a team that has its own: a new table needs a new app"


def servers_stay(before: Files, after: Files) -> None:
    """Each server's image is the same: another one may not start on the data that is there."""
    old, new = (
        {name: service.get("image") for name, service in yaml.safe_load(each["compose.yaml"])["services"].items()}
        for each in (before, after)
    )
    changed = {f"{name}: {image} -> {new.get(name)}" for name, image in old.items() if new.get(name) != image}
    assert not changed, f"{changed}: data of the version before needs an upgrade, and a test of it"


def variables_stay(before: Files, after: Files) -> None:
    """Every variable is still read by its name: hosts set it where no update gets to."""
    old, new = (set(re.findall(r"(?m)^(?:# )?([A-Z_]+)=", each[".env.example"])) for each in (before, after))
    assert old <= new, f"{old - new} is set on hosts: keep reading it"


def settings_can_be_edited(before: Files, after: Files, limit: int) -> None:
    """At most `limit` lines of settings.py conflict with an update if a team has edited them."""
    found = conflicting(before["config/settings.py"], after["config/settings.py"])
    assert len(found) <= limit, f"config/settings.py: {len(found)} lines conflict, not {limit} as until now: {found}"


def conflicting(before: str, after: str) -> list[int]:
    """Return the numbers of the lines in `before` whose edit conflicts: those that change, and their neighbours."""
    old, new = before.splitlines(), after.splitlines()
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    touched = {line for kind, start, end, *_ in changes if kind != "equal" for line in range(start, end + 2)}
    return sorted(touched & set(range(1, len(old) + 1)))
