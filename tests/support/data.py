"""How a host's data is recognised, and the commands that check it."""

from __future__ import annotations

import stat
from pathlib import Path

# database -> a file that it creates in data/ with a release that had no data/belongs-to; its entry in data/belongs-to.
FILES = {
    "sqlite": ("site/db.sqlite3", "sqlite"),
    "postgres": ("database/18/docker/PG_VERSION", "postgres 18"),
    "mysql": ("database/mysql.ibd", "mysql 9.7"),
    "mariadb": ("database/aria_log_control", "mariadb 11.8"),
}
# The make targets that check whose data it is.
COMMANDS = (["deploy"], ["rollback", "TAG=any"], ["backup"], ["restore", "FILE=any"])


def mode(path: Path) -> int:
    """Return a file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)
