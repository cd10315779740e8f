"""The front door of a site on one host: its names, what it serves of the uploads, and what it says about visitors."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Production
from tests.support.project import clean_up, free_port, make_project, until

pytestmark = pytest.mark.rotates(
    seconds=90,
    touched_by=[
        *("*Caddyfile*", "*compose.production*", "*/production.sh*", "hooks/production/names.sh"),
        *("template/ops/env.py", "template/ops/proxies.py", "template/ops/front.py"),
    ],
)

SUBNET = 71
PAGES = """
from django.http import HttpResponse

urlpatterns += [path("address/", lambda request: HttpResponse(request.META["REMOTE_ADDR"]))]
"""
NAME = "which is not a host name"
# What production.env must not have -> the sentence about it.
REFUSED = {
    "SITE_HOST=https://example.com": NAME,
    "SITE_HOST=example.com:8443": NAME,
    "SITE_HOST=example.com/shop": NAME,
    'SITE_HOST="example.com www.example.com"': NAME,
    "SITE_HOST=example.com,,www.example.com": NAME,
    "SITE_HOST=*.example.com": NAME,
    "SITE_HOST=-example.com": NAME,
    "SITE_HOST=straße.example": NAME,
    "SITE_HOST=203.0.113.7": "which is an address",
    "SITE_HOST=example.com,example.com": "twice",
    "SITE_HOST=": "SITE_HOST is missing",
    "MAX_BODY_MB=abc": 'MAX_BODY_MB is "abc"',
    "MAX_BODY_MB=0": "MAX_BODY_MB is 0",
    "HTTPS_PORT=https": 'HTTPS_PORT is "https"',
    "EMAIL_URL=smtp://user:pa$word@mail.example.com": "production.env has $word, which is not set",
    "SITE_HOST example.com": "production.env cannot be read",
}


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine) -> Iterator[Production]:
    """A project that is not deployed yet, with two names."""
    ensure_image(engine, "caddy:2")
    combination = Combination("slipway-door", matrix.default_combination().answers)
    project = make_project(copie_session, engine, combination)
    urls = project.path / "config" / "urls.py"
    urls.write_text(urls.read_text(encoding="utf-8") + PAGES, encoding="utf-8")
    project.commit("Add a page")
    production = Production(project, free_port(), free_port())
    production.configure(SUBNET, "MAX_BODY_MB=600", "HSTS_SUBDOMAINS=yes")
    settings = project.path / "production.env"
    text = settings.read_text(encoding="utf-8")
    # As Compose reads it.
    settings.write_text(
        text.replace("SITE_HOST=localhost", 'export SITE_HOST="localhost,www.localhost"  # two names'), encoding="utf-8"
    )
    production.make("secrets")
    yield production
    production.remove()
    clean_up(project)


def test_names_and_ports_are_checked_before_anything_changes(site: Production) -> None:
    for line, sentence in REFUSED.items():
        with site.production_env(line):
            [said] = site.lines("deploy", fails=True)
        assert sentence in said, line
    assert not (site.project.path / "data").exists()
    names = ["sh", "-c", '. scripts/production.sh; check_names; echo "$SITE_NAMES $SITE_ADDRESS"', "scripts/sh"]
    with site.production_env("SITE_HOST=Bücher.example, www.bücher.example\nHTTPS_PORT=443"):
        assert (
            site.project.run(*names).strip()
            == "xn--bcher-kva.example www.xn--bcher-kva.example https://xn--bcher-kva.example"
        )


def test_it_says_where_it_is(site: Production) -> None:
    assert site.deploy_commit().splitlines()[-1].endswith(f"is up at https://localhost:{site.https_port}")
    assert site.status("/") == 200


def ask(
    site: Production, path: str, name: str = "localhost", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a request for another name, and return the response."""
    sni = "localhost" if name == "evil.example" else name
    status, found, body = site.ask(path, method, {"Host": f"{name}:{site.https_port}"} | headers, name=sni)
    assert all(len(values) == 1 for values in found.values()), found
    return status, {key: values[0] for key, values in found.items()}, body


def test_the_other_names_redirect_to_the_first(site: Production) -> None:
    first = f"https://localhost:{site.https_port}"
    status, headers, _ = ask(site, "/admin/?next=/", "www.localhost")
    assert (status, headers["location"]) == (308, f"{first}/admin/?next=/")
    for name in ("localhost", "www.localhost"):
        plain = http.client.HTTPConnection("localhost", site.http_port, timeout=60)
        plain.request("GET", "/admin/?next=/", headers={"Host": name})
        answer = plain.getresponse()
        assert (answer.status, answer.getheader("Location")) == (308, f"{first}/admin/?next=/")
        assert answer.getheader("Server") is None


def test_every_answer_has_the_headers(site: Production) -> None:
    for path, name, length in (
        *(("/", "localhost", ""), ("/admin/login/", "localhost", ""), ("/", "www.localhost", "")),
        *(("/media/none.png", "localhost", ""), ("/", "localhost", "600000001"), ("/", "evil.example", "")),
    ):
        _, headers, _ = ask(site, path, name, **({"Content-Length": length} if length else {}))
        assert headers["strict-transport-security"] == "max-age=3600; includeSubDomains", path
        assert headers["alt-svc"] == f'h3=":{site.https_port}"; ma=2592000'
        assert not {"server", "via"} & set(headers), path


def test_readiness_is_not_for_the_world(site: Production) -> None:
    for path in ("/readyz", "/readyz/", "//readyz", "/./readyz", "/%72eadyz", "/READYZ", "/readyz?x", "/x/../readyz"):
        assert site.status(path) in {301, 404}, path
    assert site.readiness() == 200


def test_no_upload_runs_or_is_a_style(site: Production) -> None:
    media = site.project.path / "data" / "site" / "media"
    pictures = {"a.png": "image/png", "a.JPG": "image/jpeg", "a.svg": "image/svg+xml"}
    others = [
        "a.js",
        "a.MJS",
        "a.css",
        "a.html",
        "a.xhtml",
        "a.xml",
        "a.json",
        "a.wasm",
        "a.pdf",
        "a",
        "a.png.js",
        "a.js.png.css",
    ]
    for name in (*pictures, *others):
        (media / name).write_text("alert(1)", encoding="utf-8")
        status, headers, _ = ask(site, f"/media/{name}")
        assert status == 200
        assert headers["content-type"] == pictures.get(name, "application/octet-stream"), name
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert headers.get("content-disposition") == (None if name in {"a.png", "a.JPG"} else "attachment"), name
    status, headers, body = ask(site, "/media/a.png", Range="bytes=0-4")
    assert (status, body, headers["content-type"]) == (206, b"alert", "image/png")


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("version", ["1.1", "2", "3"])
def test_each_protocol_fetches_a_page_a_static_file_and_an_upload(site: Production, version: str, address: str) -> None:
    if version == "3" and "HTTP3" not in site.project.run("curl", "--version"):
        pytest.skip("this machine's curl has no HTTP/3")
    (site.project.path / "data" / "site" / "media" / "a.png").write_text("picture", encoding="utf-8")
    style = re.search(r"/static/site\.[^\"]*css", site.ask("/")[2].decode())
    assert style
    for path, wanted in (("/", "<h1"), (style[0], "{"), ("/media/a.png", "picture")):
        found = site.project.run(
            *("curl", "--silent", "--insecure", f"--http{version}", "--write-out", "\n%{http_version} %{http_code}"),
            *("--connect-to", f"::[{address}]:{site.https_port}", f"https://localhost:{site.https_port}{path}"),
        )
        assert found.splitlines()[-1] == f"{version} 200", path
        assert wanted in found


def test_a_link_among_the_uploads_leads_to_no_secret(site: Production) -> None:
    media = site.project.path / "data" / "site" / "media"
    [key, *_] = sorted((site.project.path / "data" / "caddy").rglob("*.key"))
    inside = f"/data/{key.relative_to(site.project.path / 'data' / 'caddy')}"
    targets = {
        "key.png": inside,
        "relative.png": f"../..{inside}",
        "folder": "/data",
        "settings.png": "/etc/caddy/Caddyfile",
        "database.png": "../db.sqlite3",
        "secret.png": "/run/secrets/secret_key",
    }
    for name, target in targets.items():
        (media / name).symlink_to(target)
    try:
        for name in (*targets, f"folder{inside.removeprefix('/data')}"):
            status, _, body = ask(site, f"/media/{name}")
            assert status == 404 or b"Shows that Caddy runs" in body, name
            assert b"PRIVATE KEY" not in body
    finally:
        for name in targets:
            (media / name).unlink()


def test_a_large_upload_takes_no_memory(site: Production) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
        for _ in range(5500):
            yield b"x" * 100_000
        yield b"\r\n--x--\r\n"

    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Referer": f"https://localhost:{site.https_port}/admin/login/",
        "Cookie": f"csrftoken={'c' * 32}",
    }
    # The site reads all of it, and then rejects it, because it has no CSRF token.
    assert site.status("/admin/login/", method="POST", headers=headers, body=body(), timeout=120) == 403
    state = site.project.inspect(site.compose("ps", "--quiet", "web").strip())
    assert (state["RestartCount"], state["State"]["OOMKilled"]) == (0, False)
    assert "was killed" not in site.compose("logs", "--no-log-prefix", "web")


def test_what_is_too_large_gets_the_page_of_the_site(site: Production) -> None:
    direct = """
from http.client import HTTPConnection
connection = HTTPConnection("127.0.0.1", 8000)
connection.request("POST", "/", headers={"Host": "localhost", "Content-Length": "600000001"})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""
    own = site.compose("exec", "-T", "web", "python", "-c", direct).partition(" ")
    status, _, body = ask(site, "/", method="POST", **{"Content-Length": "600000001"})
    assert (str(status), body.decode().strip()) == ("413", own[2].strip())
    assert site.status("/") == 200


def test_the_log_hides_secrets(site: Production) -> None:
    hidden = "h1dden"
    query = f"/?a=shown1&token={hidden}&API_KEY={hidden}&new_password1={hidden}&b=shown2"
    ask(site, query, Referer=f"https://localhost{query}")
    ask(site, query, "www.localhost", Referer=f"https://localhost{query}")

    def records() -> list[dict[str, object]]:
        lines = site.compose("logs", "--no-log-prefix", "caddy").splitlines()
        return [json.loads(line) for line in lines if "shown1" in line]

    until(lambda: len(records()) == 2)
    assert all(str(record).count("shown2") >= 2 for record in records())
    assert hidden not in site.compose("logs", "caddy")


def test_the_host_is_no_proxy(site: Production) -> None:
    network = site.project.inspect(site.compose("ps", "--quiet", "web").strip())["NetworkSettings"]["Networks"]
    [address] = [each["IPAddress"] for name, each in network.items() if name.endswith("_frontend")]
    direct = http.client.HTTPConnection(address, 8000, timeout=60)
    forged = {"Host": "localhost", "X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https"}
    direct.request("GET", "/address/", headers=forged)
    assert direct.getresponse().status == 301, "X-Forwarded-Proto is believed"


def test_a_shared_address_is_not_locked_out(site: Production) -> None:
    # This machine's requests to its own port arrive from Docker's gateway, as IPv6 visitors do without IPv6.
    networks = site.project.inspect(f"{site.project.slug}-production_frontend")["IPAM"]["Config"]
    gateway = ask(site, "/address/")[2].decode()
    assert gateway in {str(ip_network(each["Subnet"])[1]) for each in networks}
    for _ in range(7):
        _, headers, _ = site.ask("/admin/login/")
        token = headers["set-cookie"][0].split("csrftoken=")[1].split(";")[0]
        form = f"username=eve&password=guess&csrfmiddlewaretoken={token}"
        fields = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"csrftoken={token}",
            "Referer": f"https://localhost:{site.https_port}/admin/login/",
        }
        assert site.status("/admin/login/", method="POST", headers=fields, body=form.encode()) == 200
    assert f"Visitors share the address of Docker's gateway, {gateway}" in site.compose("logs", "web")


@pytest.mark.skipif(not shutil.which("ip") or os.geteuid() != 0, reason="needs ip(8) and root")
def test_visitors_with_ipv6_have_addresses_of_their_own(site: Production) -> None:
    def ip(*arguments: str) -> None:
        site.project.run("ip", *arguments)

    ip("link", "add", "door0", "type", "veth", "peer", "name", "door1")
    try:
        ip("netns", "add", "door")
        ip("link", "set", "door1", "netns", "door")
        ip("address", "add", "fd99::1/64", "dev", "door0", "nodad")
        ip("link", "set", "door0", "up")
        ip("-n", "door", "link", "set", "door1", "up")
        for address in ("fd99::2", "fd99::3"):
            ip("-n", "door", "address", "add", f"{address}/64", "dev", "door1", "nodad")
        ip("-n", "door", "-6", "route", "add", "default", "via", "fd99::1")
        resolved = ["--resolve", f"localhost:{site.https_port}:[fd99::1]"]
        ask = ["ip", "netns", "exec", "door", "curl", "--silent", "--insecure", *resolved]
        for address in ("fd99::2", "fd99::3"):
            url = f"https://localhost:{site.https_port}/address/"
            assert site.project.run(*ask, "--interface", address, url) == address
    finally:
        ip("link", "delete", "door0")
        ip("netns", "delete", "door")
