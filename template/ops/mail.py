"""The mail backend for production without EMAIL_URL."""

from collections.abc import Sequence
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class NoServer(BaseEmailBackend):
    """Raise an error instead of dropping mail silently."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> NoReturn:
        """Raise ImproperlyConfigured."""
        raise ImproperlyConfigured("No mail can be sent: set EMAIL_URL to smtp+tls://USER:PASSWORD@HOST:587.")
