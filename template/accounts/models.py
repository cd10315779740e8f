"""The user model. It is custom from the first migration on, because switching to a custom one later is hard."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person who can sign in. Add fields here, then run `make makemigrations`."""
