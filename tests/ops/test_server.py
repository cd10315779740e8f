"""The settings for a database server."""

import traceback

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.ops.production import PRODUCTION, SCHEME, load


def test_a_url_that_cannot_be_read_does_not_show_its_password() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL cannot be read: percent-encode the") as refused:
        load(PRODUCTION | {"DATABASE_URL": f"{SCHEME}://app:se/cret@host/app"})
    assert "'se'" not in "".join(traceback.format_exception(refused.value))


def test_nothing_waits_for_ever() -> None:
    limits = load(PRODUCTION)["LIMITS"]
    assert all(limits.values())
    assert load(PRODUCTION | {"DATABASE_LOCK_TIMEOUT": "7"})["LIMITS"] != limits


def test_a_password_may_hold_any_character() -> None:
    url = f"{SCHEME}://app:p%40ss%2Fw%25%24%26@database/app"
    assert load(PRODUCTION | {"DATABASE_URL": url})["DATABASES"]["default"]["PASSWORD"] == "p@ss/w%$&"
