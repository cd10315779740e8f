"""The environment variables of production, and the settings that they result in."""

import importlib.util
import os
import sys
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

KEY = "a-key-of-fifty-characters-for-this-test-alone-0123"
ENGINE = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
SCHEME, DATABASE = {
    "sqlite3": ("sqlite", "/data/db.sqlite3"),
    "postgresql": ("postgres", "app"),
    "mysql": ("mysql", "app"),
}[ENGINE]
PRODUCTION = {"SECRET_KEY": KEY}
if ENGINE != "sqlite3":
    PRODUCTION["DATABASE_URL"] = f"{SCHEME}://app:secret@database/app"
if hasattr(settings, "REDIS_URL"):
    PRODUCTION["REDIS_URL"] = "redis://:secret@redis:6379"


def load(environment: dict[str, str]) -> dict[str, Any]:
    """Load the settings with `environment` as the only variables."""
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch.dict(sys.modules):
        for name in ("ops.env", "ops.services"):
            del sys.modules[name]
        spec = importlib.util.spec_from_file_location("loaded", "config/settings.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return vars(module)


def refusal(environment: dict[str, str]) -> str:
    """Return the one-line error with which the settings refuse `environment`."""
    with pytest.raises(ImproperlyConfigured) as refused:
        load(environment)
    line = str(refused.value)
    assert "\n" not in line
    return line
