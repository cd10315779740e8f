"""The limits of the API, and its pages."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.test import Client
from knox.models import AuthToken
from rest_framework.generics import GenericAPIView
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from accounts.api import LoginRateThrottle, TokenView
from accounts.models import User
from ops.api import Permissions

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
    answers = [api.get("/api/v1/users/me/").status_code for _ in range(3)]
    assert answers == [200, 200, 429]


def test_json_that_is_nested_too_deeply_cannot_be_read(client: Client) -> None:
    answer = client.post("/api/v1/token/", "[" * 100_000, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json() == {"detail": "The request cannot be read."}


def test_passwords_cannot_be_guessed_quickly(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoginRateThrottle, "THROTTLE_RATES", {"login": "2/min"})
    token = AuthToken.objects.create(User.objects.create_user("eve"))[1]
    form = {"username": "ada", "password": "guess"}
    headers = [{"x-forwarded-for": f"10.0.0.{n}", "authorization": f"Token {token}"} for n in range(3)]
    answers = [client.post("/api/v1/token/", form, headers=each) for each in headers]
    assert [answer.status_code for answer in answers] == [400, 400, 429]


def test_wrong_passwords_lock_out_their_address(client: Client, ada: User) -> None:
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


def sign_in(client: Client) -> str:
    """Return a new token of ada's."""
    answer = client.post("/api/v1/token/", {"username": "ada", "password": "correct horse"})
    assert answer.status_code == 200, answer.text
    assert answer["Cache-Control"] == "no-store"
    return str(answer.json()["token"])


def get(client: Client, token: str, path: str = "/api/v1/users/me/") -> int:
    """Return the status of a request with a token."""
    return client.get(path, headers={"authorization": f"Token {token}"}).status_code


def test_a_token_is_stored_as_a_hash_and_expires(client: Client, ada: User) -> None:
    token = sign_in(client)
    stored = AuthToken.objects.values().get()
    assert token not in str(stored)
    assert timedelta(days=29) < stored["expiry"] - stored["created"] <= timedelta(days=30)
    AuthToken.objects.update(expiry=stored["created"])
    assert get(client, token) == 401


def test_a_token_ends_with_the_password(client: Client, ada: User) -> None:
    token = sign_in(client)
    assert get(client, token) == 200
    ada.set_password("battery staple")
    ada.save()
    assert get(client, token) == 401


def test_tokens_are_listed_and_revoked_by_their_owner(client: Client, ada: User) -> None:
    first, second = sign_in(client), sign_in(client)
    other = AuthToken.objects.create(User.objects.create_user("eve"))[1]
    headers = {"authorization": f"Token {second}"}
    listed = client.get("/api/v1/tokens/", headers=headers)
    assert listed["Cache-Control"] == "no-store"
    assert [each["token_key"] for each in listed.json()["results"]] == [second[:15], first[:15]]
    assert client.delete(f"/api/v1/tokens/{other[:15]}/", headers=headers).status_code == 404
    assert client.delete(f"/api/v1/tokens/{first[:15]}/", headers=headers).status_code == 204
    assert [get(client, each) for each in (first, second, other)] == [401, 200, 200]


def test_a_user_has_a_limited_number_of_tokens(client: Client, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenView, "kept", 2)
    tokens = [sign_in(client) for _ in range(3)]
    assert [get(client, each) for each in tokens] == [401, 200, 200]


@pytest.mark.parametrize("view", [APIView(), GenericAPIView()])
def test_a_view_without_a_model_takes_any_signed_in_user(view: APIView, ada: User) -> None:
    for user, expected in ((ada, True), (None, False)):
        request = SimpleNamespace(user=user, method="GET")
        assert Permissions().has_permission(request, view) == expected  # type: ignore[arg-type]


def test_errors_are_json(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.raise_request_exception = False
    assert client.get("/api/nowhere/").json() == {"detail": "There is nothing at this address."}
    monkeypatch.setattr(TokenView, "get_authenticators", lambda _: 1 / 0)
    answer = client.post("/api/v1/token/")
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])
