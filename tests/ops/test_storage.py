"""Uploads without the optional package: what STORAGE_URL may be, the types of uploads, and warnings."""

import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db.models import FileField
from pytest_django import Settings

from ops import services, storage


@pytest.fixture
def _package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("storages", "boto3"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(services, "PICTURE_SOURCES", [])


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    ("url", "backend", "endpoint", "expected"),
    [
        ("s3://k:a%2Fb@s3.example.com/bucket", "Bucket", "https://s3.example.com", {"secret_key": "a/b"}),
        ("s3+http://k:s@[::1]:9000/bucket/a/b", "Bucket", "http://[::1]:9000", {"location": "a/b"}),
        ("s3://k:s@h/bucket?region=eu&new=volume", "Leaving", "https://h", {"region_name": "eu"}),
    ],
)
def test_the_url_says_where(
    url: str, backend: str, endpoint: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_URL", url)
    settings = services.uploads()
    assert settings["BACKEND"] == f"ops.bucket.{backend}"
    expected |= {"access_key": "k", "bucket_name": "bucket", "endpoint_url": endpoint}
    assert {name: settings["OPTIONS"][name] for name in expected} == expected
    assert [endpoint] == services.PICTURE_SOURCES


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    "url",
    [
        *("bucket", "https://k:s3cret@h/b", "s3://h/b", "s3://k:s3cret@h", "s3://k:s3cret@/b", "s3://k@h/b"),
        *("s3://k:s3cret@h/b?acl=public-read", "s3://k:s3cret@h:x/b", "s3://k:s3cret/@h/b", "s3://["),
    ],
)
def test_another_url_is_refused_without_showing_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_URL", url)
    with pytest.raises(ImproperlyConfigured, match=r"^STORAGE_URL ") as refused:
        services.uploads()
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


def test_the_variable_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "storages", None)  # makes the import fail, even if it is installed
    monkeypatch.setenv("STORAGE_URL", "s3://key:secret@host/bucket")
    with pytest.raises(ImproperlyConfigured, match=r"^STORAGE_URL is set, but storages is not installed\."):
        services.uploads()


def test_without_the_variable_nothing_is_needed(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.delenv("STORAGE_URL", raising=False)
    settings.STORAGES = {**settings.STORAGES, "default": services.uploads()}
    assert not storage.in_bucket()
    assert storage.problem() == "", "there is no model with uploads"
    with pytest.raises(CommandError, match=r"^STORAGE_URL is not set"):
        call_command("moveuploads")


@pytest.mark.parametrize("name", ["a.js", "a.html", "a.css", "a.xml", "a.png.js", "a.pdf", "a", ".png", "a.json"])
def test_no_type_runs(name: str) -> None:
    assert storage.headers(name) == ("application/octet-stream", "attachment")


def test_pictures_are_displayed() -> None:
    assert storage.headers("a/b.JPG") == ("image/jpeg", "inline")
    assert storage.headers("a.svg") == ("image/svg+xml", "attachment")


def test_it_says_when_uploads_would_be_lost(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    monkeypatch.setattr(apps.get_model("accounts", "User")._meta, "get_fields", lambda: [FileField()])
    monkeypatch.delenv("NODES", raising=False)
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    settings.MEDIA_ROOT = tmp_path / "media"
    assert storage.problem() == ""
    monkeypatch.setenv("NODES", "2")
    assert "each node has a volume of its own" in storage.problem()
    monkeypatch.setattr(os, "access", lambda *_: False)  # a pod's file system, which is read-only
    assert "cannot be written" in storage.problem()
