"""The user model. It is the project's own from the first migration on, for it is hard to change to one later."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person who can sign in. Add fields here, then run `make makemigrations`."""
