"""Disks that are small or full. Only root can mount one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a small disk on a folder, with a copy of what is in it."""
    copy = folder.with_name(f"{folder.name}-copy")
    subprocess.run(["cp", "-a", folder, copy], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        subprocess.run(["cp", "-a", f"{copy}/.", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
        shutil.rmtree(copy)


@contextmanager
def filled(path: Path) -> Iterator[None]:
    """Fill the disk with a file at `path`, which is removed at the end."""
    try:
        with path.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield
    finally:
        path.unlink()
