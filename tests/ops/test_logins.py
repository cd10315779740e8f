"""Logins under attack: what is refused, what is not, and what the log says."""

import logging
from collections.abc import Iterator

import pytest
from django.conf import settings as current
from django.contrib.auth.hashers import make_password
from django.test import Client, RequestFactory
from django.utils.http import urlencode
from pytest_django import Settings

from accounts.models import User
from ops import logins
from ops.env import THREADS

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
RIGHT = "correct horse"


@pytest.fixture(autouse=True)
def _ada() -> None:
    User.objects.create_superuser("ada", password=RIGHT)


@pytest.fixture
def busy() -> Iterator[None]:
    """All threads for passwords are taken."""
    taken = 0
    while logins.places.acquire(blocking=False):
        taken += 1
    yield
    for _ in range(taken):
        logins.places.release()


def attempt(name: str, address: str, word: str = "guess") -> int:
    """Return the status of a login: 302 if it succeeds, 200 if the password is wrong, 429 if it is refused."""
    form = {"username": name, "password": word, "next": "/admin/"}
    return Client().post(LOGIN, form, REMOTE_ADDR=address).status_code


def test_one_address_cannot_try_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "ADDRESS_LIMIT", 8)
    answers = [attempt(f"user{number}", "192.0.2.1") for number in range(10)]
    assert answers == [200] * 7 + [429] * 3
    assert attempt("ada", "192.0.2.1", RIGHT) == 429
    assert attempt("ada", "192.0.2.2", RIGHT) == 302, "another address is not affected"


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    answers = [attempt("ada", f"2001:db8:0:1::{number:x}") for number in range(10)]
    assert answers.count(200) == current.AXES_FAILURE_LIMIT - 1
    assert attempt("ada", "2001:db8:0:2::1", RIGHT) == 302


@pytest.mark.parametrize(("limit", "name"), [("NAME_LIMIT", "ada"), ("TOTAL_LIMIT", "eve")])
def test_many_addresses_have_two_tries_each_and_lock_no_one_out(
    monkeypatch: pytest.MonkeyPatch, limit: str, name: str
) -> None:
    monkeypatch.setattr(logins, limit, 3 * current.AXES_FAILURE_LIMIT)
    tries = [[attempt(name, f"192.0.2.{number}") for _ in range(5)].count(200) for number in range(6)]
    assert tries == [4, 4, 4, 1, 1, 1]  # the last try that counts is refused
    assert attempt("ada", "198.51.100.1") == 200, "a typo is forgiven"
    assert attempt("ada", "198.51.100.1", RIGHT) == 302


def test_a_lockout_is_one_record_that_says_who(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(9):
        attempt("ada", "192.0.2.1")
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in found if record.name != "django.request"] == [
        "Too many wrong logins as ada from 192.0.2.1"
    ]
    filters = [current.LOGGING["filters"]["no_probes"]["callback"]]
    assert not [record for record in found if record.name == "django.request" and all(each(record) for each in filters)]
    assert vars(found[0])["username"] == "ada"
    assert vars(found[0])["address"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8:1:2::1]:4711", "2001:db8:1:2::"),
        ("unknown", None),
        ("", None),
    ],
)
def test_what_is_counted_for_an_address(address: str, counted: str | None) -> None:
    assert logins.network_of(RequestFactory().get("/", REMOTE_ADDR=address)) == counted


@pytest.mark.usefixtures("busy")
def test_hashing_leaves_threads_to_the_rest(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["ops.logins.Hasher"]
    answer = Client().post(LOGIN, {"username": "ada", "password": RIGHT})
    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert "not available right now" in answer.text
    assert Client().get(LOGIN).status_code == 200


def test_a_hash_is_the_one_that_django_makes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    hashed = make_password(RIGHT)
    settings.PASSWORD_HASHERS = ["ops.logins.Hasher"]
    user = User(password=hashed)
    assert user.check_password(RIGHT)
    assert user.password == hashed
    assert logins.places._value == max(1, THREADS // 2), "each place is given back"


def test_a_new_secret_key_logs_no_one_out(client: Client, settings: Settings) -> None:
    client.force_login(User.objects.get())
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the-next-key-of-fifty-characters-for-this-test-alone"
    assert client.get("/admin/").status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get("/admin/").status_code == 200, "the session has been signed again"
    settings.SECRET_KEY = "another-key-of-fifty-characters-for-this-test-alone"
    assert client.get("/admin/").status_code == 302


def test_pages_for_one_person_are_not_stored(client: Client) -> None:
    assert not client.get("/").has_header("Cache-Control")
    assert not client.get("/").has_header("Vary")
    client.force_login(User.objects.get())
    assert client.get("/")["Cache-Control"] == "no-store"


def test_errors_are_pages_of_the_site(client: Client, settings: Settings) -> None:
    settings.DEBUG = False
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    client.raise_request_exception = False
    strict = Client(enforce_csrf_checks=True)
    large = client.post(LOGIN, urlencode({"a": "b" * 20}), "application/x-www-form-urlencoded")
    found = {
        400: client.get("/", headers={"host": "elsewhere.example"}),
        403: strict.post(LOGIN, {"a": "b"}),
        404: client.get("/nowhere"),
        413: large,
    }
    for status, answer in found.items():
        assert answer.status_code == status
        assert "site.css" in answer.text
        assert "default-src 'self'" in answer["Content-Security-Policy"], status
