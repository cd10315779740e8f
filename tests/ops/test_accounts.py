"""The user model, and the database that stores it."""

import pytest
from django.contrib.auth import get_user_model

from accounts.models import User

pytestmark = pytest.mark.django_db


def test_the_user_model_is_the_projects_own() -> None:
    assert get_user_model() is User


def test_names_keep_every_character() -> None:
    user = User.objects.create_user("zoe", first_name="Zoë 🚀", last_name="Ærø")
    user.refresh_from_db()
    assert (user.first_name, user.last_name) == ("Zoë 🚀", "Ærø")
