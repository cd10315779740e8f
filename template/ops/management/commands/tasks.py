"""List the queue, and the tasks that are set aside: `python manage.py tasks`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from ops import queue


class Command(BaseCommand):
    """Show what waits in the queue; with --resend, send the tasks again that are set aside."""

    help = "List the queue and the tasks that are set aside"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define --resend."""
        parser.add_argument("--resend", action="store_true", help="send the tasks again that are set aside")

    def handle(self, *_: Any, resend: bool, **__: Any) -> None:
        """Print the queue and the tasks."""
        try:
            figures = queue.figures()
            self.stdout.write(
                "{waiting} waiting, the oldest for {oldest_seconds:.0f} seconds; {started} with workers; "
                "{set_aside} set aside{end}".format(**figures, end=":" if figures["set_aside"] else "")
            )
            for task in queue.resend() if resend else queue.set_aside():
                self.stdout.write(f"{task['task']}[{task['options']['task_id']}]{' sent again' if resend else ''}")
        except RedisError as error:
            raise CommandError(f"Redis is unavailable: {error}") from error
