#!/usr/bin/env python
"""Django's command line: `python manage.py help` lists the commands."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    # `docker compose exec` starts as root: work as the owner of these files, as scripts/dev.sh does.
    if os.geteuid() == 0 and (owner := os.stat(__file__)).st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    execute_from_command_line(sys.argv)
