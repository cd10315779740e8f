"""The pages that visitors see."""

import django
import pytest
from django.test import Client
from pytest_django import Settings

pytestmark = pytest.mark.django_db


def test_the_welcome_page_names_the_site(client: Client, settings: Settings) -> None:
    settings.SITE_NAME = "Ærø's <Café>"
    page = client.get("/")
    assert page.status_code == 200
    assert "<h1>Ærø&#x27;s &lt;Café&gt;</h1>" in page.text


@pytest.mark.parametrize("debug", [True, False])
def test_only_development_shows_versions(client: Client, settings: Settings, debug: bool) -> None:
    settings.DEBUG = debug
    assert (django.get_version() in client.get("/").text) == debug


def test_the_icon_is_found_where_browsers_look(client: Client) -> None:
    assert client.get("/favicon.ico")["Location"].startswith("/static/favicon")


def test_browsers_are_told_to_load_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get("/")
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe-inline" not in answer["Content-Security-Policy"]
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
