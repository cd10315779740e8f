"""The API and its schema."""

import pytest
from django.contrib.auth.models import Permission
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


def test_a_token_authenticates(client: Client, ada: User) -> None:
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


def test_others_are_shown_to_those_who_may_view_them_in_the_admin(api: APIClient, ada: User) -> None:
    ada.is_staff = True
    assert api.get("/api/v1/users/").status_code == api.get(f"/api/v1/users/{ada.pk}/").status_code == 403
    ada.user_permissions.add(Permission.objects.get(codename="view_user"))
    api.force_authenticate(User.objects.get())
    assert [each["username"] for each in api.get("/api/v1/users/").json()["results"]] == ["ada"]


def test_pages_are_bounded(api: APIClient, ada: User) -> None:
    ada.is_superuser = True
    User.objects.bulk_create(User(username=f"user{number}") for number in range(60))
    answer = api.get("/api/v1/users/?page_size=1000").json()
    assert (answer["count"], len(answer["results"])) == (61, 50)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("is_active=false", ["bob"]),
        ("search=CAROL&ordering=-username", ["caroline", "carol"]),
        ("search=carol&is_active=false", []),
    ],
)
def test_the_list_is_filtered_searched_and_ordered(api: APIClient, ada: User, query: str, names: list[str]) -> None:
    ada.is_superuser = True
    User.objects.bulk_create(User(username=name, is_active=name != "bob") for name in ("bob", "carol", "caroline"))
    assert [each["username"] for each in api.get(f"/api/v1/users/?{query}").json()["results"]] == names


def test_the_schema_is_valid() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file="/dev/null")
