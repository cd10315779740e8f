"""Django's `startapp`, which also lists the new app where it has to be."""

import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.commands import startapp

# Where apps are listed, and the line after which a new one is added.
LISTS = {"config/settings.py": '    "accounts",\n', ".dockerignore": "!accounts\n"}


class Command(startapp.Command):
    """Create an app in the project's folder, with its lines in LISTS."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Create it; with a folder of its own as `directory`, leave the lists alone."""
        name = options["name"]
        new_folder = not options["directory"] and not Path(name).exists()
        try:
            super().handle(**options)
        except BaseException:
            # Ctrl-C, or a full disk: leave no half of an app.
            if new_folder:
                shutil.rmtree(name, ignore_errors=True)
            raise
        for file, line in ({} if options["directory"] else LISTS).items():
            path, new = settings.BASE_DIR / file, line.replace("accounts", name)
            before, found, after = path.read_text(encoding="utf-8").partition(line)
            if found:
                path.write_text(before + line + new + after, encoding="utf-8")
            else:
                self.stderr.write(f"{file} lacks {line.strip()}: add {new.strip()} by hand.")
