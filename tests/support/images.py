"""Images of the combinations: built in a folder with files that must not get into them, and inspected."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.support.project import Project

# The most that a production image may add to its base, in MB: by what the answers add to it, about 5 % above today's.
BUDGET = {"site": 57, "postgres": 14, "mysql": 4, "mariadb": 4, "use_drf": 19, "use_celery": 27}
CANARY = "canary-7f3a9c"
# Files that a working folder may hold, and that must not get into an image.
PLANTED = (
    ".env",
    "production.env",
    "db.sqlite3",
    ".venv/canary.py",
    "config/.env",
    "backup.sql",
)
# Runs in the image, as its user, with the command of its health check as arguments, and prints a report.
LOOK = r"""
import importlib.util, json, os, shutil, subprocess, sys
def lines(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
print(json.dumps({
    "uid": os.getuid(),
    "tools": [tool for tool in ("gcc", "cc", "make", "git", "uv") if shutil.which(tool)],
    "modules": [module for module in ("pytest", "mypy", "ruff", "uv") if importlib.util.find_spec(module)],
    "writable": lines("find", "/app", "/opt", "/srv", "/usr", "-writable", "-not", "-type", "l"),
    "unreadable": lines("find", "/app", "-not", "-readable"),
    "app": sorted(os.listdir("/app")),
    "canary": lines(
        "grep", "-rlsF", "--exclude-dir=site-packages", "CANARY", "/app", "/opt", "/srv", "/etc", "/home", "/tmp"
    ),
    "healthy": subprocess.run(sys.argv[1:]).returncode == 0,
    "server": "granian" in open("/proc/1/maps").read(),
}))
""".replace("CANARY", CANARY)

# Runs in the image: prints which modules that its arguments import are not small and have no bytecode.
UNCOMPILED = r"""
import importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
specs = [spec for module in list(sys.modules.values()) if (spec := getattr(module, "__spec__", None)) and spec.cached]
print(*[spec.name for spec in specs if not spec.origin.startswith("/app/") and not os.path.exists(spec.cached)
    and os.path.getsize(spec.origin) > 5_000])
"""

# Runs in a container, as its user: prints which of its processes have more than half of their memory to themselves.
UNSHARED = r"""
import pathlib
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        continue
    size = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    if size and size["Rss"] > 30_000 and size["Private_Dirty"] * 2 > size["Rss"]:
        print(folder.name, size)
"""


def largest(answers: Mapping[str, Any]) -> float:
    """Return how many MB the production image of a combination may add to its base."""
    chosen = ["site", answers["database"], *(name for name in ("use_drf", "use_celery") if answers[name])]
    return float(sum(BUDGET.get(name, 0) for name in chosen))


def build(project: Project) -> dict[str, Any]:
    """Build a project's production image, with files in its folder that must not get in.

    Return the output of `docker inspect`, and the build time as "seconds"; CommandError if the build fails.
    """
    planted = [project.path / name for name in PLANTED]
    if project.database == "sqlite":
        planted.append(project.path / "accounts" / "db.sqlite3")
    for path in planted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"SECRET_KEY={CANARY}\n", encoding="utf-8")
    start = time.monotonic()
    try:
        project.docker("build", "--quiet", "--tag", project.slug, ".")
    finally:
        for path in planted:
            path.unlink()
    return {"seconds": time.monotonic() - start, **project.inspect(project.slug)}
