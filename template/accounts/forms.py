"""Forms for accounts."""

from collections.abc import Iterator

from django.contrib.auth.forms import PasswordResetForm
from django.core.cache import cache

from accounts.models import User

PAUSE = 300  # seconds


class ResetForm(PasswordResetForm):
    """Ask for a new password. Nobody can fill a mailbox with it: a user gets a mail only after a pause."""

    def get_users(self, email: str) -> Iterator[User]:
        """Return the users with this address who have got no mail during the pause."""
        for user in super().get_users(email):
            key = f"password-reset-{user.pk}"
            if not cache.get(key):
                cache.set(key, True, PAUSE)
                yield user
