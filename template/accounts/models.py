"""The user model. It is a custom one from the first migration on, because switching later is difficult."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person who can sign in. Add fields here, then run `make makemigrations`."""
