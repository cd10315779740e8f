"""The limits of the API, and its pages."""

import pytest
from django.conf import settings
from django.test import Client
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle

from accounts.api import LoginRateThrottle
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


def test_too_many_requests_are_429(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"user": "2/min"})
    answers = [api.get("/api/v1/users/").status_code for _ in range(3)]
    assert answers == [200, 200, 429]


def test_passwords_cannot_be_guessed_quickly(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoginRateThrottle, "THROTTLE_RATES", {"login": "2/min"})
    token = Token.objects.create(user=User.objects.create_user("eve")).key
    form = {"username": "ada", "password": "guess"}
    headers = [{"x-forwarded-for": f"10.0.0.{n}", "authorization": f"Token {token}"} for n in range(3)]
    answers = [client.post("/api/v1/token/", form, headers=each) for each in headers]
    assert [answer.status_code for answer in answers] == [400, 400, 429]


def test_guessing_a_password_locks_out_who_guesses(client: Client, ada: User) -> None:
    form = {"username": "ada", "password": "guess"}
    answers = [client.post("/api/v1/token/", form).status_code for _ in range(settings.AXES_FAILURE_LIMIT)]
    assert answers == [400] * (settings.AXES_FAILURE_LIMIT - 1) + [429]
    answer = client.post("/api/v1/token/", form | {"password": "correct horse"})
    assert answer.status_code == 429
    assert answer["Retry-After"] == "900"
    assert answer.json()["detail"].startswith("Too many wrong passwords.")


def test_a_username_of_any_length_is_just_wrong(client: Client) -> None:
    assert client.post("/api/v1/token/", {"username": "a" * 1000, "password": "guess"}).status_code == 400


def test_the_schema_and_its_pages_are_served(client: Client) -> None:
    assert client.get("/api/schema/").status_code == 200
    page = client.get("/api/docs/").text
    assert "swagger-ui" in page
    assert "//cdn" not in page
