"""Malformed requests to a deployed site get an answer of the kind 4xx: thousands, made of bytes and of the schema."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.fuzz import KNOWN, Reply, ask, malformed, request
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import SIGN_IN, clean_up, free_port, make_project
from tests.support.rendered import tool

pytestmark = pytest.mark.rotates(
    seconds=300,
    touched_by=["*Caddyfile*", "template/ops/*", "template/accounts/api.py", "tests/support/fuzz.py"],
)

BATCH, BATCHES = 100, 90
# The answers of the proxy alone, to what is no request to the site: nothing in them is the site's.
PROXY = {417, 421, 501, 505}
HEADERS = {
    b"content-security-policy",
    b"x-content-type-options",
    b"x-frame-options",
    b"referrer-policy",
    b"x-request-id",
}
# Half of the threads may hash passwords: fuzzing is about what comes before that. Nothing is limited.
SETTINGS = """
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
LIMITS = [f"API_{each}_RATE=100000/s" for each in ("ANON", "USER", "LOGIN")]
LIMITS += [f"LOGIN_{each}_LIMIT=1000000" for each in ("FAILURE", "ADDRESS", "NAME", "TOTAL")]


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine) -> Iterator[Production]:
    """A deployed site with an API."""
    ensure_image(engine, "caddy:2")
    combination = Combination("slipway-fuzz", matrix.pick(database="postgres", use_drf=True, use_celery=False).answers)
    project = make_project(copie_session, engine, combination)
    path = project.path / "config" / "settings.py"
    path.write_text(path.read_text(encoding="utf-8") + SETTINGS, encoding="utf-8")
    project.commit("Hash quickly")
    production = Production(project, free_port(), free_port())
    production.configure(73, *LIMITS)
    production.make("secrets")
    production.deploy_commit()
    yield production
    production.remove()
    clean_up(project)


@pytest.fixture(scope="module")
def token(site: Production) -> str:
    """The token of a user who may see everything."""
    key = site.python(SIGN_IN[True] % "ada").strip()
    site.python("from accounts.models import User; User.objects.update(is_staff=True, is_superuser=True)")
    return key


def records(site: Production) -> list[dict[str, object]]:
    """Return the records of the site's log."""
    lines = site.compose("logs", "--no-log-prefix", "web").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def failures(site: Production) -> list[dict[str, object]]:
    """Return the records of the site's log that are errors, or access records of a response of the kind 5xx."""
    return [each for each in records(site) if each["level"] == "ERROR" or str(each.get("status", "")).startswith("5")]


@pytest.mark.parametrize("kind", KNOWN)
def test_it_gets_a_page_of_the_site_with_all_headers(kind: str, site: Production, token: str) -> None:
    reply = ask(site.https_port, KNOWN[kind].replace(b"TOKEN", token.encode()))
    assert reply.status == 400, reply
    assert {header for header in HEADERS if b"\r\n" + header + b":" not in reply.headers} == set()
    assert b'"detail"' in reply.body or b"<h1" in reply.body
    assert failures(site) == []


@pytest.mark.parametrize("name", [b"a" * 300, b"%00.png"], ids=["long", "NUL"])
def test_an_upload_that_cannot_exist_is_not_found(name: bytes, site: Production) -> None:
    reply = ask(site.https_port, request(b"/media/" + name))
    assert (reply.status, reply.body) == (404, b"Not found")


def test_ten_thousand_malformed_requests(site: Production, token: str, record: Callable[[str, str], None]) -> None:
    answers = Counter[int]()
    wrong: list[tuple[bytes, Reply]] = []

    def answer(data: bytes) -> Reply:
        return ask(site.https_port, data.replace(b"TOKEN", token.encode()), patience=0.5)

    with ThreadPoolExecutor(32) as pool:

        @settings(
            max_examples=BATCHES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(malformed(), min_size=BATCH, max_size=BATCH))
        def fuzz(batch: list[bytes]) -> None:
            for data, reply in zip(batch, pool.map(answer, batch), strict=True):
                answers[reply.status] += 1
                fine = 0 <= reply.status < 500 and (reply.status < 400 or reply.body)
                # An empty Host. Its answer comes before the Caddyfile, which would remove this header.
                unrouted = reply.status == 400 and b"\r\nserver: caddy\r\n" in reply.headers
                if not (fine or unrouted or reply.status in PROXY):
                    wrong.append((data[:500], reply))

        fuzz()
    record("malformed requests", json.dumps(dict(sorted(answers.items()))))
    print(*wrong[:20], sep="\n")
    assert len(wrong) == 0, "see the output for the requests and their answers"
    assert sum(answers.values()) >= BATCH * BATCHES
    assert answers[400] > BATCH * BATCHES / 10
    assert failures(site) == []


def test_the_api_answers_what_its_schema_allows_and_forbids(
    site: Production, token: str, record: Callable[[str, str], None]
) -> None:
    schema = site.project.path / "schema.yaml"
    schema.write_bytes(site.ask("/api/schema/", headers={"Authorization": f"Token {token}"})[2])
    said = site.project.run(
        *(tool("schemathesis"), "run", "--url", f"https://localhost:{site.https_port}", "--tls-verify", "false"),
        *("--header", f"Authorization: Token {token}", "--checks", "not_a_server_error", "--no-color"),
        *("--max-examples", "200", "--exclude-method", "DELETE", "--phases", "examples,coverage,fuzzing", str(schema)),
    )
    found = re.search(r"(\d+) generated", said)
    assert found, said
    record("requests made of the schema", found[1])
    assert int(found[1]) > 1000
    assert failures(site) == []


def test_a_broken_request_stops_no_other(site: Production) -> None:
    """Caddy would take every broken chunk for a failure of the site."""
    text = (site.project.path / "Caddyfile").read_text(encoding="utf-8")
    assert "fail_duration" not in re.sub(r"(?m)#.*$", "", text)
    for _ in range(20):
        assert ask(site.https_port, KNOWN["a broken chunk"]).status == 400
        assert site.status("/") == 200
