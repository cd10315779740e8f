"""The settings, as environment variables define them."""

from pathlib import Path

import pytest

from tests.ops.production import DATABASE, KEY, PRODUCTION, SCHEME, load, refusal


@pytest.mark.parametrize("name", PRODUCTION)
def test_a_missing_secret_is_named(name: str) -> None:
    assert refusal({key: value for key, value in PRODUCTION.items() if key != name}).startswith(f"{name} is missing.")


@pytest.mark.parametrize("key", ["", "too-short", "changeme", f"{KEY}-change-me", f"django-insecure-{KEY}"])
def test_a_placeholder_is_no_secret(key: str) -> None:
    assert refusal(PRODUCTION | {"SECRET_KEY": key}).startswith("SECRET_KEY is")


@pytest.mark.parametrize("name", [*PRODUCTION, "EMAIL_URL", "STORAGE_URL"])
def test_an_example_is_no_secret(name: str) -> None:
    line = refusal(PRODUCTION | {name: "any://USER:PASSWORD@HOST/NAME"})
    assert line.startswith(f"{name} is a placeholder.")


@pytest.mark.parametrize("name", PRODUCTION)
def test_a_secret_can_come_from_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(PRODUCTION[name] + "\n", encoding="utf-8")
    settings = load({key: value for key, value in PRODUCTION.items() if key != name} | {f"{name}_FILE": str(file)})
    assert settings["SECRET_KEY"] == KEY
    assert settings["DATABASES"]["default"]["NAME"] == DATABASE


@pytest.mark.parametrize("name", [*PRODUCTION, "ALLOWED_HOSTS"])
def test_what_is_given_twice_is_refused(name: str) -> None:
    line = refusal({"ALLOWED_HOSTS": "example.com"} | PRODUCTION | {f"{name}_FILE": "/dev/null"})
    assert line == f"both {name} and {name}_FILE are set. Remove one of them."


def test_a_variable_that_is_not_read_may_have_any_name() -> None:
    assert load(PRODUCTION | {"LOG": "a", "LOG_FILE": "b", "LOG_LEVEL": "INFO"})["LOG_LEVEL"] == "INFO"


def test_a_secret_file_that_is_not_there_is_named() -> None:
    environment = {key: value for key, value in PRODUCTION.items() if key != "SECRET_KEY"}
    line = refusal(environment | {"SECRET_KEY_FILE": "/nowhere"})
    assert line.startswith("SECRET_KEY_FILE cannot be read")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOGIN_FAILURE_LIMIT", "many"),
        ("LOG_LEVEL", "loud"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("HTTPS", "perhaps"),
        ("TIME_ZONE", "Europe/Atlantis"),
        ("LANGUAGE_CODE", "english"),
        ("DEFAULT_FROM_EMAIL", "webmaster"),
        ("ALLOWED_HOSTS", "https://a-long-name-with-a-scheme.example.com"),
    ],
)
def test_a_value_of_another_form_is_refused(name: str, value: str) -> None:
    assert refusal(PRODUCTION | {name: value}).startswith(f"{name} ")


def test_the_gateway_of_a_docker_network_is_not_trusted() -> None:
    settings = load(PRODUCTION | {"TRUSTED_PROXIES": "docker:10.1.2.0/30,docker:fd00::/126,docker:10.9.9.1,192.0.2.1"})
    assert sorted(settings["TRUSTED_PROXIES"]) == sorted(
        ["10.1.2.0/32", "10.1.2.2/31", "fd00::/128", "fd00::2/127", "192.0.2.1"]
    )


@pytest.mark.parametrize("url", ["nonsense", "oracle://a:b@c/d", "http://[", "/data/db"])
def test_another_database_is_refused(url: str) -> None:
    line = refusal(PRODUCTION | {"DATABASE_URL": url})
    assert line.startswith("DATABASE_URL is not a URL for this site's kind of database.")


def test_geodjango_has_schemes_of_its_own() -> None:
    url = PRODUCTION.get("DATABASE_URL", f"{SCHEME}:///{DATABASE}")
    for_maps = {"postgres": "postgis", "mysql": "mysqlgis", "sqlite": "spatialite"}[SCHEME]
    settings = load(PRODUCTION | {"DATABASE_URL": url.replace(SCHEME, for_maps, 1)})
    assert settings["DATABASES"]["default"]["ENGINE"].startswith("django.contrib.gis.db.backends.")


def test_what_the_url_asks_for_is_kept() -> None:
    url = PRODUCTION.get("DATABASE_URL", f"{SCHEME}:///{DATABASE}")
    settings = load(PRODUCTION | {"DATABASE_URL": f"{url}?extra=kept"})
    assert settings["DATABASES"]["default"]["OPTIONS"]["extra"] == "kept"


def test_a_secret_may_start_with_a_dollar_sign() -> None:
    assert load(PRODUCTION | {"SECRET_KEY": f"${KEY}"})["SECRET_KEY"] == f"${KEY}"


def test_a_misspelt_yes_is_refused() -> None:
    assert refusal(PRODUCTION | {"HTTPS": "ture"}) == "HTTPS is 'ture'. Set it to 1 or 0."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFAULT_FROM_EMAIL", "$ales <sales@example.com>"),
        ("DEFAULT_FROM_EMAIL", "Ærø <site@example.com>"),
        ("TIME_ZONE", "Etc/GMT+1"),
        ("LANGUAGE_CODE", "zh-hans"),
    ],
)
def test_a_value_is_taken_as_it_is(name: str, value: str) -> None:
    assert load(PRODUCTION | {name: value})[name] == value


def test_the_tasks_have_the_time_zone_of_the_site() -> None:
    settings = load(PRODUCTION | {"TIME_ZONE": "Europe/Berlin"})
    assert settings.get("CELERY_TIMEZONE", "Europe/Berlin") == settings["TIME_ZONE"] == "Europe/Berlin"


def test_earlier_keys_are_read() -> None:
    assert load(PRODUCTION)["SECRET_KEY_FALLBACKS"] == []
    settings = load(PRODUCTION | {"SECRET_KEY_FALLBACKS": f"{KEY}1 {KEY}2"})
    assert settings["SECRET_KEY_FALLBACKS"] == [f"{KEY}1", f"{KEY}2"]
