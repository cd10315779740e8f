"""The pages in a real browser: they load, look right, and violate none of their own security policies."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright
from pytest_copie.plugin import Copie

from tests.engine import Engine
from tests.engine.debian import install
from tests.support import matrix
from tests.support.matrix import ROOT, Combination
from tests.support.project import Project, clean_up, make_project

pytestmark = pytest.mark.rotates(
    seconds=80, touched_by=["template/templates/*", "template/static/*", "template/config/*", "template/ops/pages.py*"]
)
REPORTS = ROOT / "reports"
# What axe checks: WCAG 2.1, A and AA. Swagger UI's markup breaks the first of the rules that are off, the admin's the
# other.
AXE = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "rules": {"nested-interactive": {"enabled": False}, "aria-prohibited-attr": {"enabled": False}},
}
# Axe would measure colours in the middle of a transition. The policy of the pages forbids style elements.
STILL = """() => {
    const still = new CSSStyleSheet()
    still.replaceSync("* { transition: none !important; animation: none !important }")
    document.adoptedStyleSheets = [still]
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium: the machine's own, else Debian's."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if not any(map(shutil.which, names)):
        install("chromium", "fonts-dejavu-core")
    path = next(filter(None, map(shutil.which, names)))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if os.getuid() == 0 else [], chromium_sandbox=False
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def development(copie_session: Copie, engine: Engine) -> Iterator[Project]:
    """The default project, in development, with an account for the admin."""
    project = make_project(copie_session, engine, Combination("slipway-browser", matrix.default_combination().answers))
    project.compose("up", "--build", "--detach", "--wait")
    environment = ["DJANGO_SUPERUSER_PASSWORD=correct horse battery", "DJANGO_SUPERUSER_EMAIL=ada@example.com"]
    project.compose(
        *("exec", "-T", *(word for each in environment for word in ("--env", each)), "web"),
        *("python", "manage.py", "createsuperuser", "--no-input", "--username", "ada"),
    )
    yield project
    clean_up(project)


@pytest.fixture(params=["development", "production"])
def site(request: pytest.FixtureRequest, development: Project) -> Iterator[str]:
    """The site's address: in development, and in the production image on the same data."""
    if request.param == "development":
        yield development.address(development.container("web"))
        return
    name = "slipway-browser-production"
    development.docker("build", "--quiet", "--tag", name, ".")
    development.docker(
        *("run", "--detach", "--name", name, "--publish", "127.0.0.1:0:8000", "--volume", "slipway-browser_data:/data"),
        *("--user", "1000:1000"),  # the owner of the data
        *("--env", "SECRET_KEY=a-secret-key-of-fifty-characters-for-this-test-012", name),
    )
    try:
        development.wait_healthy(name)
        yield development.address(name)
    finally:
        development.docker("rm", "--force", name)
        development.docker("image", "rm", name)


def test_every_page_loads_without_a_complaint(site: str, browser: Browser, request: pytest.FixtureRequest) -> None:
    REPORTS.mkdir(exist_ok=True)
    for _ in range(5):
        complaints = visit(site, browser, request.node.callspec.params["site"])
        # Chromium aborts loading when another test creates or removes a network.
        if not any("ERR_NETWORK_CHANGED" in each for each in complaints):
            break
    assert not complaints, "\n".join(complaints)


def visit(site: str, browser: Browser, kind: str) -> list[str]:
    """Open every page as a staff user does, and return the browser's complaints."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    try:
        walk(page, site, kind, complaints)
    except Error as error:  # Playwright's: a page did not load, or lacks an element
        if not any("ERR_NETWORK_CHANGED" in each for each in [str(error), *complaints]):
            raise
        complaints.append(str(error))
    finally:
        page.close()
    return complaints


def walk(page: Page, site: str, kind: str, complaints: list[str]) -> None:
    """Open the pages one by one, and add to `complaints`."""

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.location.get('url')}: {message.text}")

    def fail(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # we have left the page before its icon arrived
            complaints.append(f"{request.url} failed: {request.failure}")

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", fail)
    page.on(
        "request", lambda request: None if request.url.startswith((site, "data:")) else complaints.append(request.url)
    )

    def look(name: str) -> None:
        """Check a page for accessibility in both colour schemes, and keep pictures of it, one on a phone."""
        page.wait_for_load_state()
        page.evaluate(STILL)
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            for each in Axe().run(page, options=AXE).response["violations"]:
                nodes = [f"{node['target']} {node['failureSummary']}" for node in each["nodes"]]
                complaints.append(f"{name} in {scheme}: {each['id']}: {nodes}")
            page.screenshot(path=REPORTS / f"{name}-{kind}-{scheme}.png")
        page.set_viewport_size({"width": 390, "height": 844})
        page.screenshot(path=REPORTS / f"{name}-{kind}-phone.png")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            complaints.append(f"{name} is wider than a phone")
        page.set_viewport_size({"width": 1200, "height": 900})

    page.goto(f"{site}/")
    assert page.locator("h1").inner_text() == "slipway-browser's Café & Co"
    assert page.locator("img").evaluate("image => image.naturalWidth") > 0
    assert page.locator("body").evaluate("body => getComputedStyle(body).margin") == "0px", "the page lacks its styles"
    if kind == "development":
        assert page.locator("dd").all_inner_texts()[0].startswith("6.")
    look("home")

    page.goto(f"{site}/accounts/profile/")
    look("sign-in")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "wrong")
    page.click("button")
    page.wait_for_selector("text=Please enter a correct username")
    look("refused")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "correct horse battery")
    page.click("button")
    page.wait_for_selector("text=Sign out")
    page.wait_for_load_state()
    look("account")
    page.click("text=Change your password")
    page.wait_for_selector("[name=old_password]")
    look("password")
    page.goto(f"{site}/accounts/profile/")
    page.wait_for_load_state()
    page.click("text=Sign out")
    page.wait_for_selector("h1:has-text('slipway-browser')")
    page.wait_for_load_state()
    page.goto(f"{site}/accounts/password_reset/")
    page.fill("[name=email]", "ada@example.org")
    page.click("button")
    page.wait_for_selector("text=on its way")
    look("reset")

    page.goto(f"{site}/admin/")
    look("admin-login")
    page.fill("[name=username]", "ada")
    page.fill("[name=password]", "correct horse battery")
    page.click("[type=submit]")
    page.wait_for_load_state()  # leaving the page earlier would abort what it still loads
    assert "Site administration" in page.inner_text("main")
    page.click("text=Users")
    page.wait_for_load_state()
    assert "1 user" in page.inner_text("main")
    page.goto(f"{site}/admin/accounts/user/1/change/")
    look("admin")

    page.goto(f"{site}/api/docs/")
    page.click("text=/api/v1/users/me/ >> nth=0")
    page.click("button:has-text('Try it out')")
    page.click("button:has-text('Execute')")
    page.wait_for_selector("text=ada@example.com")
    look("api")
    page.click("text=Back to the site")
    page.wait_for_selector("h1:has-text('slipway-browser')")


def test_the_demo_answers_and_stops(tmp_path: Path, engine: Engine, browser: Browser) -> None:
    project = Project(ROOT, matrix.default_combination(), engine)
    folder = tmp_path / "demo"
    port = 18473
    program = ["python", "-m", "tools.demo"]
    project.environment = {
        "PORT": str(port),
        "COMPOSE_PROJECT_NAME": "slipway-demo-test",
        "PATH": f"{Path(sys.executable).parent}:{engine.env['PATH']}",
    }
    printed = project.run(*program, "start", str(folder))
    url = printed.split("up at ")[1].split(". ")[0]
    try:
        page = browser.new_page()
        page.goto(url)
        assert page.locator("h1").inner_text() == "My Site"
        taken = project.run(*program, "start", str(folder), fails=True)
        assert (
            taken.strip()
            == f"Port {port} is in use. Free it (an earlier demo: make demo-stop), or make demo PORT={port + 1}"
        )
    finally:
        project.run(*program, "stop", str(folder))
