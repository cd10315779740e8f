"""Uploads in a bucket: served by every replica, moved there and back, and what is said when the bucket cannot be used.

The bucket is that of a stand-in for all providers: OpenStack Swift, from Debian, with its S3 API. Amazon's own was not
tested, nor HTTPS to a bucket.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from pytest_copie.plugin import Copie

from tests.engine import Engine, ensure_image
from tests.support import matrix
from tests.support.matrix import Combination
from tests.support.production import Production, own_address
from tests.support.project import Answer, CommandError, add_app, clean_up, free_port, get, make_project, until
from tools.lock import compile_locks

pytestmark = pytest.mark.rotates(
    seconds=100,
    touched_by=[
        *("template/ops/storage.py", "template/ops/bucket.py", "template/ops/management/commands/moveuploads.py"),
        *("template/ops/services.py*", "*Caddyfile*", "tests/engine/stand_ins/s3/*"),
    ],
)

SERVER = "slipway-storage-s3"
OTHER = "slipway-storage-other"
# The key and the secret of the stand-in, as they stand in a URL.
KEY = "test%3Atester:testing"
FILES = 40
MEGABYTE = 1_000_000
APP = {
    "__init__.py": "",
    "views.py": """
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def upload(request):
    name = default_storage.save(request.GET["name"], request.FILES["file"])
    return HttpResponse(default_storage.url(name), status=201)
""",
}
URLS = """
from ledger import views

urlpatterns += [path("upload/", views.upload)]
"""
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
BODY = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n%s\r\n--x--\r\n'
FILL = f"""
from pathlib import Path
folder = Path("/data/media/many")
folder.mkdir(parents=True, exist_ok=True)
for number in range({FILES}):
    (folder / f"{{number}}.bin").write_bytes(f"{{number:04}}".encode() * {MEGABYTE // 4})
"""
CREATE = """
from ops.bucket import Objects
from django.conf import settings
Objects(**settings.STORAGES["default"]["OPTIONS"]).connection.create_bucket(Bucket="uploads")
"""
# The numbers of the files whose content is right.
CHECK = f"""
from django.core.files.storage import default_storage as storage
for number in range({FILES}):
    with storage.open(f"many/{{number}}.bin") as file:
        if file.read() == f"{{number:04}}".encode() * {MEGABYTE // 4}:
            print(number)
"""
IN_BUCKET = """
from ops.bucket import Objects
from django.conf import settings
print(*Objects(**settings.STORAGES["default"]["OPTIONS"]).names(), sep=chr(10))
"""
ASK = [
    *("python", "manage.py", "shell", "--no-imports", "-c"),
    "from ops.storage import problem; print(problem() or 'no problem')",
]


@dataclass
class Site(Production):
    """A deployed site, and the S3 server's address in a URL."""

    bucket: str = ""

    def store(self, url: str) -> None:
        """Set STORAGE_URL, "" for none, and deploy."""
        file = self.project.path / "production.env"
        text = re.sub(r"(?m)^STORAGE_URL=.*\n", "", file.read_text(encoding="utf-8"))
        file.write_text(text + (f"STORAGE_URL={url}\n" if url else ""), encoding="utf-8")
        self.deploy_commit()

    def upload(self, name: str, content: bytes) -> str:
        """Upload a file, and return the path of its address; CommandError if that fails."""
        status, _, body = self.ask(f"/upload/?name={name}", "POST", FORM, body=BODY % content)
        if status != 201:
            raise CommandError(f"{status}: {body.decode()}")
        return body.decode()

    def on_volume(self) -> list[str]:
        """Return the names of the files on the volume."""
        media = self.project.path / "data" / "site" / "media"
        return sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())

    def in_bucket(self) -> list[str]:
        """Return the names of the objects in the bucket."""
        return sorted(filter(None, self.python(IN_BUCKET).splitlines()))

    def interrupt(self, left: int) -> None:
        """Start to move uploads, and kill that once the volume no longer has `left` files."""
        web = self.compose("ps", "--quiet", "web").strip()
        script = "echo $$ > /tmp/pid; exec python manage.py moveuploads"
        self.project.docker("exec", "--detach", web, "sh", "-c", script)
        until(lambda: len([name for name in self.on_volume() if name != ".moving"]) != left, every=0.05)
        self.project.docker("exec", web, "sh", "-c", "kill -9 $(cat /tmp/pid)")

    def move(self) -> str:
        """Move all uploads, and return the last line."""
        return self.make("prod-manage", "CMD=moveuploads").splitlines()[-1]

    def one_off(self, url: str, *command: str, fails: bool = False) -> str:
        """Run a command of manage.py in a container of its own, with a STORAGE_URL and an empty volume."""
        image = f"{self.project.slug}:{self.project.environment['TAG']}"
        given = ["--env", f"STORAGE_URL={url}", "--env", f"SECRET_KEY={'k' * 50}"]
        return self.project.docker("run", "--rm", *given, image, *command, fails=fails)


@pytest.fixture(scope="module")
def site(copie_session: Copie, engine: Engine) -> Iterator[Site]:
    """A site with a page that takes uploads, deployed without a bucket, and an S3 server beside it."""
    ensure_image(engine, "caddy:2")
    ensure_image(engine, "slipway.invalid/s3")
    answers = matrix.pick(database="sqlite", use_celery=False).answers
    project = make_project(copie_session, engine, Combination("slipway-storage", answers))
    add_app(project, APP)
    urls = project.path / "config" / "urls.py"
    urls.write_text(urls.read_text(encoding="utf-8") + URLS, encoding="utf-8")
    project.commit("Take uploads")
    port = free_port()
    made = Site(project, free_port(), free_port(), bucket=f"s3+http://{KEY}@{own_address()}:{port}")
    made.configure(92)
    project.run("sh", "-c", f"docker rm --force --volumes {SERVER} {OTHER} || true")
    try:
        project.docker("run", "--detach", "--name", SERVER, "--publish", f"{port}:8080", "slipway.invalid/s3")
        made.make("secrets")
        made.deploy_commit()
        yield made
    finally:
        project.run("sh", "-c", f"docker rm --force --volumes {SERVER} {OTHER} || true")
        made.remove()
        clean_up(project)


def size(site: Site) -> int:
    """Return the size of the deployed image in bytes."""
    return int(site.project.inspect(f"{site.project.slug}:{site.project.environment['TAG']}")["Size"])


def fetch(redirect: dict[str, list[str]], method: str = "GET", change: str = "") -> Answer:
    """Request the address to which a response redirects, with `change` appended to its signature."""
    return get(redirect["location"][0] + change, method=method)


def test_the_package_is_added_as_its_line_says(site: Site) -> None:
    url = f"{site.bucket}/uploads"
    said = site.one_off(url, "python", "-m", "ops.serve", fails=True).splitlines()
    assert len(said) == 1
    assert "STORAGE_URL is set, but storages is not installed" in said[0]
    before = size(site)
    path = site.project.path / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    text, found = re.subn(r'(?m)^  # ("django-storages.+",)$', r"  \1", text)
    assert found == 1
    path.write_text(text, encoding="utf-8")
    compile_locks(site.project.path)
    site.project.commit("Store uploads in a bucket")
    site.python(FILL)
    site.store(url)
    grown = (size(site) - before) / MEGABYTE
    print(f"the image has grown by {grown:.1f} MB")
    [documented] = re.findall(r"For STORAGE_URL; (\d+) MB", text)
    assert abs(grown - int(documented)) < 4
    log = site.compose("logs", "--no-log-prefix", "web")
    assert "has no bucket uploads: create it, or correct STORAGE_URL." in log
    assert "Each worker loads the site for itself" not in log, "the first process stays connected to the bucket"
    site.python(CREATE)


def test_two_replicas_on_two_volumes_serve_the_same_upload(site: Site) -> None:
    given = ["--env", f"STORAGE_URL={site.bucket}/uploads", "--env", f"SECRET_KEY={'k' * 50}"]
    image = f"{site.project.slug}:{site.project.environment['TAG']}"
    publish = ["--publish", "127.0.0.1::8000", "--volume", "/data"]
    site.project.docker("run", "--detach", "--name", OTHER, *publish, *given, image)
    picture, page = site.upload("a%20%C3%BC.png", b"a picture"), site.upload("a.html", b"<script>alert(1)</script>")
    assert not [name for name in site.on_volume() if name.startswith("a")]
    address = site.project.wait_answering(OTHER)
    for path, content, kind, how in (
        (picture, "a picture", "image/png", "inline"),
        (page, "<script>alert(1)</script>", "application/octet-stream", "attachment"),
    ):
        other = get(f"{address}{path}")
        redirects = [site.ask(path)[1], {"location": [other.headers["location"]]}]
        assert other.status == 302
        for redirect in redirects:
            found = fetch(redirect)
            assert (found.status, found.text, found.headers["content-type"]) == (200, content, kind)
            assert found.headers["content-disposition"] == how
            assert fetch(redirect, change="0").status == 403, "the signature is not checked"
            assert get(redirect["location"][0].partition("?")[0]).status in {400, 401, 403}, "the bucket is public"
    assert fetch(site.ask(picture, "HEAD")[1], "HEAD").status == 200
    host = "{0.scheme}://{0.netloc}".format(urlsplit(site.ask(picture)[1]["location"][0]))
    [policy] = site.ask("/")[1]["content-security-policy"]
    rules = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert [name for name, sources in rules.items() if host in sources.split()] == ["img-src"]


def test_moving_there_can_be_interrupted(site: Site) -> None:
    assert len(site.on_volume()) == FILES
    status, headers, body = site.ask("/media/many/7.bin")
    assert (status, headers["content-type"], len(body)) == (200, ["application/octet-stream"], MEGABYTE)
    site.interrupt(FILES)
    assert 0 < len(site.on_volume()) < FILES
    assert len(site.python(CHECK).split()) == FILES, "while they are in both places, all can be read"
    assert re.fullmatch(r"\d+ uploads moved, \d+ bytes; [01] were there already\.", site.move())
    assert site.on_volume() == []
    assert len(site.python(CHECK).split()) == FILES
    assert fetch(site.ask("/media/many/7.bin")[1]).text == "0007" * (MEGABYTE // 4)
    assert site.move() == "0 uploads moved, 0 bytes; 0 were there already."


def test_what_has_another_content_is_not_replaced(site: Site) -> None:
    media = site.project.path / "data" / "site" / "media"
    (media / "many").mkdir(exist_ok=True)
    (media / "many" / "3.bin").write_text("another", encoding="utf-8")
    said = site.make("prod-manage", "CMD=moveuploads", fails=True)
    assert "1 stay: the target has others of their names (many/3.bin)." in said
    (media / "many" / "3.bin").unlink()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("testing@", "wrong@", "refuses the key"),
        ("/uploads", "/missing", "has no bucket missing"),
        (r":\d+/", ":9/", "does not answer"),
        ("@[^/]+", "@storage.invalid", "does not answer"),
    ],
)
def test_one_sentence_says_why_the_bucket_cannot_be_used(site: Site, old: str, new: str, sentence: str) -> None:
    url = re.sub(old, new, f"{site.bucket}/uploads")
    name = "/data/media/a.txt"
    script = f"mkdir -p /data/media && echo a > {name} && ! python manage.py moveuploads && cat {name}"
    said = site.one_off(url, "sh", "-c", script).splitlines()
    assert said[-1] == "a", "the upload is gone"
    assert re.fullmatch(rf"CommandError: \S+ {sentence}.* Nothing is lost: run moveuploads again\.", said[-2])
    assert len(said) == 2
    assert sentence in site.one_off(url, *ASK)


def test_without_the_server_the_site_stays_up(site: Site) -> None:
    site.project.docker("stop", "--time", "0", SERVER)
    try:
        with pytest.raises(CommandError, match=r"^503: "):
            site.upload("b.png", b"lost")
        assert site.status("/") == 200
        assert "does not answer: check the network and STORAGE_URL." in site.compose("logs", "web")
    finally:
        site.project.docker("start", SERVER)
    until(lambda: "no problem" in site.one_off(f"{site.bucket}/uploads", *ASK))


def test_moving_back_can_be_interrupted_too(site: Site) -> None:
    site.store(f"{site.bucket}/uploads?new=volume")
    path = site.upload("new.png", b"new")
    assert site.on_volume() == [path.removeprefix("/media/")]
    before = len(site.in_bucket())
    assert before == FILES + 2
    site.interrupt(1)
    assert re.fullmatch(r"\d+ uploads moved, \d+ bytes; [01] were there already\.", site.move())
    assert site.in_bucket() == []
    assert len(site.on_volume()) == before + 1
    site.store("")
    assert len(site.python(CHECK).split()) == FILES
    status, headers, body = site.ask(path)
    assert (status, headers["content-type"], body) == (200, ["image/png"], b"new")
