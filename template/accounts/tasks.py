"""What the worker does for accounts.

A task may run twice: a worker that dies in the middle leaves it for another. Write each so that this does no harm.
"""

from celery import shared_task
from celery.contrib.django.task import DjangoTask
from django.core.management import call_command

from accounts.models import User


@shared_task(base=DjangoTask)
def export_account(user_id: int) -> dict[str, str]:
    """Return what the site holds about a user; User.DoesNotExist if there is none."""
    user = User.objects.get(pk=user_id)
    return {field.name: str(field.value_from_object(user)) for field in user._meta.fields if field.name != "password"}


@shared_task(base=DjangoTask, ignore_result=True)
def clear_sessions() -> None:
    """Delete the sessions that are over. Beat starts it every night: settings.CELERY_BEAT_SCHEDULE."""
    call_command("clearsessions")
