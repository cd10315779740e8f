"""SQLite is a file with one writer: one web container at a time."""

import fcntl
import os
import time

from config.env import stop

PATIENCE = 5.0  # seconds: a container that is replaced takes its time to go


def claim(database: str) -> int:
    """Make this the one web container that uses `database`, and return the open file that is the proof of it."""
    try:
        file = os.open(f"{database}.web", os.O_CREAT | os.O_RDONLY, 0o644)
    except OSError as error:
        stop(f"the database cannot be used ({error}). The volume at /data must be writable for user {os.getuid()}.")
    os.set_inheritable(file, True)  # else it would be closed, and so unlocked, when Granian takes over
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                stop(
                    f"another web container uses the database at {database}. "
                    "SQLite takes one: stop it, or choose a server database to scale."
                )
            time.sleep(0.2)
        else:
            return file
