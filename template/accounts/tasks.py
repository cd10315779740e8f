"""Background tasks for accounts.

A task can run twice, because another worker takes over the tasks of one that dies: make each idempotent.
"""

from celery import shared_task
from celery.contrib.django.task import DjangoTask
from django.core.management import call_command

from accounts.models import User


@shared_task(base=DjangoTask)
def export_account(user_id: int) -> dict[str, str]:
    """Return the data that the site holds about a user; raise User.DoesNotExist if there is none."""
    user = User.objects.get(pk=user_id)
    return {field.name: str(field.value_from_object(user)) for field in user._meta.fields if field.name != "password"}


@shared_task(base=DjangoTask, ignore_result=True)
def clear_sessions() -> None:
    """Delete expired sessions. Beat starts this every night: settings.CELERY_BEAT_SCHEDULE."""
    call_command("clearsessions")
