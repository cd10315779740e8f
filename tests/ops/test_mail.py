"""Mail, as EMAIL_URL configures it."""

import traceback
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import mailers, send_mail
from django.core.mail.backends.smtp import EmailBackend
from pytest_django import Settings

from ops import env, services


@pytest.fixture(autouse=True)
def _production(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (env, services):
        monkeypatch.setattr(module, "DEBUG", False)
    monkeypatch.delenv("EMAIL_URL", raising=False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail", {"host": "mail", "port": 25, "use_tls": False, "use_ssl": False}),
        ("smtp+tls://ada:a%2Fb@mail", {"port": 587, "use_tls": True, "username": "ada", "password": "a/b"}),
        ("smtps://ada%40example.com:b@mail", {"port": 465, "use_ssl": True, "username": "ada@example.com"}),
        ("smtp+tls://mail:2525", {"port": 2525, "timeout": 10}),
    ],
)
def test_the_url_says_how(
    url: str, expected: dict[str, Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    settings.MAILERS = {"default": services.mailer()}
    mailer = mailers["default"]
    assert isinstance(mailer, EmailBackend)
    assert {name: getattr(mailer, name) for name in expected} == expected


@pytest.mark.parametrize("url", ["mail", "http://mail", "smtp://", "smtp://ada:a/b@mail", "smtp://["])
def test_another_url_is_refused_without_showing_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    with pytest.raises(ImproperlyConfigured, match=r"^EMAIL_URL ") as refused:
        services.mailer()
    assert "a/b" not in "".join(traceback.format_exception(refused.value))


def test_without_a_server_mail_is_not_lost_in_silence(settings: Settings) -> None:
    settings.MAILERS = {"default": services.mailer()}
    with pytest.raises(ImproperlyConfigured, match="set EMAIL_URL"):
        send_mail("subject", "body", None, ["ada@example.com"])


def test_development_prints_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(services, "DEBUG", True)
    settings.MAILERS = {"default": services.mailer()}
    send_mail("subject", "body", None, ["ada@example.com"])
    assert "To: ada@example.com" in capsys.readouterr().out
