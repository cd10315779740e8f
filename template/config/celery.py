"""The Celery app: it takes Django's settings that start with CELERY_, and the tasks in each app's tasks.py."""

import os

from celery import Celery

from ops.celery import Heartbeat

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(Heartbeat)
