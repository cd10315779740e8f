"""What the server loads: `granian config.wsgi:application`."""

import logging
import os

from django.core.wsgi import get_wsgi_application
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from config.health import problem  # noqa: E402  (Django must be set up first)

# The server starts all the same: /livez answers, and /readyz says this again until it is mended.
if trouble := problem():
    logging.getLogger("config.health").error("Not ready: %s", trouble)
connection.close()
