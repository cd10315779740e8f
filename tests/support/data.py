"""Whose data a host has: what says so, and what asks."""

from __future__ import annotations

import stat
from pathlib import Path

# What a database leaves in data/, in the folder of a release that kept no data/belongs-to; and its name in that.
FILES = {
    "sqlite": ("site/db.sqlite3", "sqlite"),
    "postgres": ("database/18/docker/PG_VERSION", "postgres 18"),
    "mysql": ("database/mysql.ibd", "mysql 9.7"),
    "mariadb": ("database/aria_log_control", "mariadb 11.8"),
}
# What `make` is asked for, each of which looks first.
COMMANDS = (["deploy"], ["rollback", "TAG=any"], ["backup"], ["restore", "FILE=any"])


def mode(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)
