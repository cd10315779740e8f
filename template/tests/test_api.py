"""The API and its schema."""

import pytest
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", "ada@example.com", "correct horse")


@pytest.fixture
def api(ada: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(ada)
    return client


@pytest.mark.parametrize("path", ["/api/v1/users/", "/api/v1/users/me/"])
def test_without_a_login_it_is_401(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Token"


def test_a_token_opens_it(client: Client, ada: User) -> None:
    assert client.post("/api/v1/token/", {"username": "ada", "password": "guess"}).status_code == 400
    answer = client.post("/api/v1/token/", {"username": "ada", "password": "correct horse"})
    headers = {"authorization": f"Token {answer.json()['token']}"}
    assert client.get("/api/v1/users/me/", headers=headers).json() == {
        "id": ada.pk,
        "username": "ada",
        "email": "ada@example.com",
        "first_name": "",
        "last_name": "",
    }


def test_own_names_can_be_changed_but_not_the_username(api: APIClient, ada: User) -> None:
    answer = api.patch("/api/v1/users/me/", {"first_name": "Ada 🚀", "username": "root"}, format="json")
    assert answer.status_code == 200
    ada.refresh_from_db()
    assert (ada.first_name, ada.username) == ("Ada 🚀", "ada")


def test_others_are_hidden_from_all_but_staff(api: APIClient, ada: User) -> None:
    bob = User.objects.create_user("bob")
    assert [each["username"] for each in api.get("/api/v1/users/").json()["results"]] == ["ada"]
    assert api.get(f"/api/v1/users/{bob.pk}/").status_code == 404
    ada.is_staff = True
    assert [each["username"] for each in api.get("/api/v1/users/").json()["results"]] == ["ada", "bob"]


def test_pages_are_bounded(api: APIClient, ada: User) -> None:
    ada.is_staff = True
    User.objects.bulk_create(User(username=f"user{number}") for number in range(60))
    answer = api.get("/api/v1/users/?page_size=1000").json()
    assert (answer["count"], len(answer["results"])) == (61, 50)


def test_the_schema_is_valid() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file="/dev/null")
