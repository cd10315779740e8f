"""What every test shares."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import Settings

from config import health


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Settings) -> None:
    """Hash passwords cheaply: a strong hash costs a third of a second for each user that a test makes."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    """Let no test see what another one left: counted requests, or the answer that nothing is to be migrated."""
    yield
    cache.clear()
    health.check_migrations.cache_clear()
