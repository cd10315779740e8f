"""The user model. A project needs its own from the first migration on: switching to one later is hard."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person who can sign in. Add fields here, then run `make makemigrations`."""
