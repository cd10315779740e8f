"""Errors and traces without the optional packages that send them."""

import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from ops.telemetry import init_sentry, init_tracing


def test_without_their_variables_nothing_is_needed() -> None:
    init_sentry()
    init_tracing()


def test_a_variable_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes an import fail, even if the package is installed.
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setenv("SENTRY_DSN", "http://key@127.0.0.1:9/1")
    with pytest.raises(ImproperlyConfigured, match="SENTRY_DSN is set, but sentry_sdk is not installed"):
        init_sentry()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ImproperlyConfigured, match="OTEL_EXPORTER_OTLP_ENDPOINT is set, but opentelemetry is"):
        init_tracing()
