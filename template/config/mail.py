"""Mail while no server for it is set."""

from collections.abc import Sequence
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class NoServer(BaseEmailBackend):
    """Refuse to send: mail that is lost without a word is missed too late."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> NoReturn:
        """Say what is missing."""
        raise ImproperlyConfigured("No mail can be sent: set EMAIL_URL to smtp+tls://USER:PASSWORD@HOST:587.")
