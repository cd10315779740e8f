"""Signing in and out, passwords, and the admin."""

import re

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.core.mail import EmailMessage
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from accounts.models import User

pytestmark = pytest.mark.django_db


def test_staff_can_use_the_admin(admin_client: Client) -> None:
    page = admin_client.get("/admin/accounts/user/")
    assert page.status_code == 200
    assert escape(settings.SITE_NAME) in page.text


def test_others_are_sent_to_the_login(client: Client) -> None:
    page = client.get("/admin/")
    assert page.status_code == 302
    assert page["Location"].startswith("/admin/login/")


def test_signing_in_takes_the_right_password(client: Client) -> None:
    User.objects.create_superuser("ada", password="correct horse")
    form = {"username": "ada", "password": "battery staple", "next": "/admin/"}
    assert client.post("/admin/login/", form).status_code == 200
    assert client.post("/admin/login/", form | {"password": "correct horse"}).status_code == 302


def test_wrong_passwords_lock_out_their_address(client: Client) -> None:
    User.objects.create_superuser("ada", password="correct horse")
    form = {"username": "ada", "password": "battery staple", "next": "/admin/"}
    answers = [client.post("/admin/login/", form).status_code for _ in range(settings.AXES_FAILURE_LIMIT)]
    assert answers == [200] * (settings.AXES_FAILURE_LIMIT - 1) + [429]
    right = form | {"password": "correct horse"}
    page = client.post("/admin/login/", right)
    assert page.status_code == 429
    assert "Try again later" in page.text
    assert client.post("/admin/login/", right, REMOTE_ADDR="10.1.2.3").status_code == 302, "other addresses can sign in"
    AccessAttempt.objects.update(attempt_time=timezone.now() - settings.AXES_COOLOFF_TIME)
    assert client.post("/admin/login/", right).status_code == 302, "the lockout ends"


def sign_in(client: Client, password: str) -> int:
    """Return the status of signing ada in: 302 if the password is right."""
    return client.post("/accounts/login/", {"username": "ada", "password": password}).status_code


def test_an_account_is_for_those_who_are_signed_in(client: Client) -> None:
    assert client.get("/accounts/profile/")["Location"] == "/accounts/login/?next=/accounts/profile/"
    User.objects.create_user("ada", password="correct horse")
    assert sign_in(client, "battery staple") == 200
    assert sign_in(client, "correct horse") == 302
    assert "<p>ada</p>" in client.get("/accounts/profile/").text
    client.post("/accounts/logout/")
    assert client.get("/accounts/profile/").status_code == 302


def test_a_forgotten_password_is_reset_by_mail(client: Client, mailoutbox: list[EmailMessage]) -> None:
    User.objects.create_user("ada", "ada@example.com", "correct horse")
    for _ in range(3):
        assert "a mail" in client.post("/accounts/password_reset/", {"email": "ADA@example.com"}, follow=True).text
    (mail,) = mailoutbox
    link = re.search(r"/accounts/reset/\S+", str(mail.body))
    assert link
    form = client.get(link[0], follow=True).redirect_chain[-1][0]
    new = {"new_password1": "battery staple", "new_password2": "battery staple"}
    assert client.post(form, new)["Location"] == "/accounts/reset/done/"
    assert sign_in(client, "battery staple") == 302
    assert "unsuccessful" in client.get(link[0], follow=True).text, "the link works twice"
