"""Base images: present, pulled, or a stand-in built from Debian's packages."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from .debian import APT_OPTIONS, EngineError, install, last_line, require_root_on_debian, run, say, sources
from .engine import Engine, locked

RECIPES = Path(__file__).parent / "stand_ins"
LABEL = "slipway.stand-in"
RECIPE_LABEL = "slipway.recipe"
PULL_TIMEOUT = 900.0
BUILD_TIMEOUT = 1200.0

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
#: The files that a Debian "slim" image leaves out.
SLIM = tuple(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info", "groff", "lintian"))
DOCKER_CLEAN = (
    'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };'
    ' Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";'
)
#: Settings for the machine's network, which are passed on to builds.
NETWORK_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL")


class ImageUnavailable(EngineError):  # noqa: N818
    """An image that cannot be pulled, and that has no stand-in here."""


class Source(StrEnum):
    """Where an image came from."""

    PRESENT = "present"
    PULLED = "pulled"
    STAND_IN = "stand-in"


@dataclass(frozen=True)
class Image:
    """An image that the engine has."""

    name: str
    source: Source
    detail: str = ""  #: of a stand-in: "PostgreSQL 18.1 from Debian testing"

    def __str__(self) -> str:
        return f"{self.name}: {self.source}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Recipe:
    """How to build one stand-in."""

    folder: str  #: in stand_ins/
    product: str
    suite: str  #: the Debian release whose root file system it starts from
    version: tuple[str, ...]  #: a command that prints the product's version inside the image
    origin: str = ""  #: where the product came from, if not from that release
    arguments: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, Path] = field(default_factory=dict)
    parent: str = ""  #: the image that it starts from, in place of that root file system


def ensure_image(engine: Engine, name: str) -> Image:
    """Make an image available under its name: use it if it is there, else pull it, else build its stand-in."""
    if image := _present(engine, name):
        return image
    with locked("image-" + re.sub(r"[^A-Za-z0-9_.-]+", "_", name)):
        if image := _present(engine, name):  # another process was faster
            return image
        labels = _labels(engine, name)
        if labels is None or LABEL not in labels:
            pulled = run("docker", "pull", "--quiet", name, env=engine.env, timeout=PULL_TIMEOUT)
            if pulled.returncode == 0:
                return Image(name, Source.PULLED)
            reason = last_line(pulled.stderr).removeprefix("Error response from daemon: ").rstrip(".")
        else:
            reason = "a stand-in of an older recipe is there"
        recipe = _recipe(name)
        if recipe is None:
            raise ImageUnavailable(f"The image {name} has no stand-in and cannot be pulled: {reason}.")
        return _build(engine, name, recipe)


def _labels(engine: Engine, name: str) -> dict[str, str] | None:
    """Return an image's labels, or None if the engine does not have it."""
    template = '{{range $key, $value := .Config.Labels}}{{$key}}={{$value}}{{"\\n"}}{{end}}'
    result = run("docker", "image", "inspect", "--format", template, name, env=engine.env, timeout=60)
    if result.returncode:
        return None
    return dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)


def _ids(engine: Engine, name: str) -> list[str]:
    return run("docker", "images", "--quiet", "--no-trunc", name, env=engine.env).stdout.split()


def _present(engine: Engine, name: str) -> Image | None:
    """Return the image if the engine has it, unless it is a stand-in from an outdated recipe."""
    labels = _labels(engine, name)
    if labels is None:
        return None
    if LABEL not in labels:
        return Image(name, Source.PRESENT)
    recipe = _recipe(name)
    if recipe is not None and labels.get(RECIPE_LABEL) != _fingerprint(recipe):
        return None
    return Image(name, Source.STAND_IN, labels[LABEL])


#: Where builds keep packages, and where they find what earlier ones have compiled, if it exists.
PACKAGES = "/root/.cache/uv"
COMPILED = f"{PACKAGES}/compiled-before"


def change_package_cache(engine: Engine, image: str, command: str) -> None:
    """Run a shell command in a build on `image` that mounts the package cache of builds; EngineError if it fails."""
    step = f"RUN --mount=type=cache,target={PACKAGES} {command} # {time.time_ns()}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(f"FROM {image}\n{step}\n", encoding="ascii")
        result = run("docker", "build", "--quiet", folder, env=engine.env, timeout=BUILD_TIMEOUT)
    if result.returncode:
        raise EngineError(f"The package cache could not be changed: {last_line(result.stderr)}")


def reuse_bytecode(engine: Engine, image: str, reuse: bool) -> None:
    """Let builds on stand-ins for Python reuse what earlier builds have compiled, or compile everything again.

    EngineError if that fails.
    """
    change_package_cache(engine, image, f"{'mkdir -p' if reuse else 'rm -rf'} {COMPILED}")


# -- Which recipe --------------------------------------------------------------------------------------------


def _recipe(name: str) -> Recipe | None:
    repository, _, tag = name.partition(":")
    if repository == "python" and (match := re.fullmatch(r"(3\.\d+)-slim-trixie", tag)):
        return _python(match[1])
    if repository == "postgres" and (match := re.fullmatch(r"(17|18)(-trixie)?", tag)):
        return _postgres(match[1])
    if repository == "axllent/mailpit":
        return Recipe("mailpit", "not Mailpit but aiosmtpd", "trixie", ("python3", "/server.py", "version"))
    if repository == "restic/restic":
        return Recipe("restic", "restic", "testing", ("restic", "version"))
    if repository == "postgis/postgis" and (match := re.fullmatch(r"(17|18)-3\.\d+", tag)):
        return _postgis(match[1])
    return _SIMPLE.get(name)


def _server(name: str, product: str, suite: str) -> Recipe:
    return Recipe("redis", product, suite, (f"{name}-server", "--version"), arguments={"NAME": name})


_SIMPLE = {
    "mariadb:11.8": Recipe("mariadb", "MariaDB", "trixie", ("mariadbd", "--version")),
    "mysql:9.7": Recipe("mysql", "MySQL", "unstable", ("mysqld", "--version"), arguments={"MAJOR": "9.7"}),
    "redis:8": _server("redis", "Redis", "trixie"),
    "valkey/valkey:8": _server("valkey", "Valkey", "trixie"),
    "valkey/valkey:9": _server("valkey", "Valkey", "testing"),
    "caddy:2": Recipe("caddy", "Caddy", "testing", ("caddy", "version")),
    # Its name cannot be pulled: no provider's image is stood in for.
    "slipway.invalid/s3": Recipe(
        "s3", "OpenStack Swift", "trixie", ("python3", "-c", "import swift; print(swift.__version__)")
    ),
    "registry:2": Recipe("registry", "Docker Registry", "trixie", ("registry", "--version")),
}


def _postgres(major: str) -> Recipe:
    data = "/var/lib/postgresql/" + ("data" if int(major) < 18 else f"{major}/docker")
    volume = "/var/lib/postgresql" + ("/data" if int(major) < 18 else "")
    suite = {"17": "trixie", "18": "testing"}[major]
    arguments = {"MAJOR": major, "DATA": data, "VOLUME": volume}
    return Recipe("postgres", "PostgreSQL", suite, ("postgres", "--version"), arguments=arguments)


def _postgis(major: str) -> Recipe:
    parent, suite = f"postgres:{major}", _postgres(major).suite
    # The scripts of an extension are named after its version.
    version = ("sh", "-c", "ls /usr/share/postgresql/*/extension/postgis--*.sql | sort -V | tail -n 1")
    return Recipe("postgis", "PostGIS", suite, version, arguments={"MAJOR": major}, parent=parent)


def _python(version: str) -> Recipe:
    arguments = {"PYTHON": version}
    command = ("python", "-c", "import platform; print(platform.python_version())")
    suite = {"3.13": "trixie", "3.14": "testing", "3.15": "testing"}.get(version)
    if suite:
        return Recipe("python", "Python", suite, command, arguments=arguments | {"ORIGIN": "debian"})
    prefix = _host_python(version)
    if prefix is None:
        raise ImageUnavailable(
            f"The image python:{version}-slim-trixie cannot be pulled, Debian has no Python {version}, and this "
            f"machine has none to copy: install one with `uv python install {version}` or `pyenv install {version}`."
        )
    arguments |= {"ORIGIN": "host"}
    return Recipe(
        "python", "Python", "trixie", command, "this machine's own, on Debian trixie", arguments, {"prefix": prefix}
    )


def _host_python(version: str) -> Path | None:
    """Return the prefix of a self-contained Python on this machine: uv's, pyenv's, or /usr/local."""
    home = Path.home()
    uv = Path(
        os.environ.get("UV_PYTHON_INSTALL_DIR")
        or Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "uv/python"
    )
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    candidates = [*uv.glob(f"cpython-{version}.*-linux-*-gnu"), *pyenv.glob(f"{version}.*"), Path("/usr/local")]
    usable = [
        path
        for path in candidates
        if (path / "bin" / f"python{version}").is_file() and (path / "include" / f"python{version}").is_dir()
    ]
    # The newest patch release, by number: 3.12.10 is newer than 3.12.9.
    return max(usable, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)], default=None)


# -- Building ------------------------------------------------------------------------------------------------


def _build(engine: Engine, name: str, recipe: Recipe) -> Image:
    require_root_on_debian(f"Building a stand-in for {name}, which cannot be pulled,")
    base = ensure_image(engine, recipe.parent).name if recipe.parent else _ensure_base(engine, recipe.suite)
    say(f"building a stand-in for {name}")
    folder = RECIPES / recipe.folder
    arguments = recipe.arguments | {"BASE": base}
    arguments |= {key: os.environ[key] for key in NETWORK_VARIABLES if os.environ.get(key)}
    command = ["docker", "build", "--progress=plain", "--provenance=false"]
    command += [f"--build-arg={key}={value}" for key, value in arguments.items()]
    command += [f"--build-context={key}={path}" for key, path in recipe.contexts.items()]

    def build(*options: str) -> str:
        with tempfile.NamedTemporaryFile("r", encoding="ascii") as image_id:
            result = run(*command, *options, "--iidfile", image_id.name, folder, env=engine.env, timeout=BUILD_TIMEOUT)
            if result.returncode:
                log = "\n".join(result.stderr.strip().splitlines()[-30:])
                raise EngineError(f"The stand-in for {name} could not be built:\n{log}")
            return Path(image_id.name).read_text(encoding="ascii").strip()

    old = _ids(engine, name)
    # Only the built image knows its version: ask it, then build again, from the cache, with the version as an argument.
    draft = build()
    answer = run(
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--entrypoint",
        recipe.version[0],
        draft,
        *recipe.version[1:],
        env=engine.env,
    )
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    if found is None:
        raise EngineError(f"The stand-in for {name} does not run: {last_line(answer.stderr)}")
    detail = f"{recipe.product} {found[0]} from {recipe.origin or f'Debian {recipe.suite}'}"
    labels = (f"--label={LABEL}={detail}", f"--label={RECIPE_LABEL}={_fingerprint(recipe)}")
    build(f"--build-arg=VERSION={found[0]}", *labels, "--tag", name)
    run("docker", "image", "rm", draft, *old, env=engine.env)
    return Image(name, Source.STAND_IN, detail)


def _ensure_base(engine: Engine, suite: str) -> str:
    """Make the minimal root file system of a Debian release available, and return its image's name."""
    name = f"slipway/debian:{suite}"
    fingerprint = _base_fingerprint(suite)
    with locked(f"image-base-{suite}"):
        if (_labels(engine, name) or {}).get(RECIPE_LABEL) == fingerprint:
            return name
        install("mmdebstrap")
        say(f"building a minimal Debian {suite} (about 20 s)")
        certificates = _own_certificates()
        with tempfile.TemporaryDirectory() as folder:
            for number, text in enumerate(certificates):
                (Path(folder) / f"host-{number}.crt").write_text(text, encoding="ascii")
            command = [*_mmdebstrap(suite), f"--customize-hook=copy-in {folder}/. /usr/local/share/ca-certificates"]
            command += ['--customize-hook=chroot "$1" update-ca-certificates', suite, "-", *sources(suite).splitlines()]
            changes = [f"LABEL {RECIPE_LABEL}={fingerprint}", 'CMD ["bash"]']
            changes += [
                f"ENV {key}={BUNDLE}" for key in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE") if certificates
            ]
            options = [part for change in changes for part in ("--change", change)]
            with (Path(folder) / "log").open("w+", encoding="utf-8") as log:
                make = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
                result = subprocess.run(
                    ["docker", "import", *options, "-"],
                    stdin=make.stdout,
                    capture_output=True,
                    text=True,
                    env=engine.env,
                    check=False,
                )
                if make.stdout:
                    make.stdout.close()
                if make.wait() or result.returncode:
                    log.seek(0)
                    raise EngineError(
                        f"A minimal Debian {suite} could not be made: {last_line(log.read() + result.stderr)}"
                    )
        # Tag it only now: an interrupted import has no name, so the next run does not find it.
        old = _ids(engine, name)
        run("docker", "tag", result.stdout.strip(), name, env=engine.env)
        if old:
            run("docker", "image", "rm", *old, env=engine.env)
        return name


def _mmdebstrap(suite: str) -> list[str]:
    options = APT_OPTIONS | {"Acquire::GzipIndexes": "true"}
    apt = [f'--aptopt={key} "{value}"' for key, value in options.items()]
    # As in Debian's own images, apt keeps no archive and no cache as long as this file is there.
    write = f"""echo '{DOCKER_CLEAN}' > "$1/etc/apt/apt.conf.d/docker-clean"; rm -f "$1"/var/cache/apt/*.bin"""
    hook = f"--customize-hook={write}"
    packages = "--include=ca-certificates,netbase,tzdata"
    return ["mmdebstrap", "--variant=minbase", packages, *apt, *(f"--dpkgopt={option}" for option in SLIM), hook]


def _own_certificates() -> list[str]:
    """Return the certificates that this machine trusts beyond Debian's set: a company's, or a proxy's."""
    pattern = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
    bundle = Path(os.environ.get("SSL_CERT_FILE") or BUNDLE)
    if not bundle.is_file():
        return []
    known = {
        "".join(text.split())
        for path in Path("/usr/share/ca-certificates").rglob("*.crt")
        for text in pattern.findall(path.read_text(encoding="utf-8", errors="replace"))
    }
    found = pattern.findall(bundle.read_text(encoding="utf-8", errors="replace"))
    return [text for text in found if "".join(text.split()) not in known]


def _base_fingerprint(suite: str) -> str:
    return _digest(*_mmdebstrap(suite), sources(suite), *_own_certificates())


def _fingerprint(recipe: Recipe) -> str:
    """Return a digest of everything that a stand-in is made from, except the versions of packages."""
    files = sorted(path for path in (RECIPES / recipe.folder).rglob("*") if path.is_file())
    texts = [f"{path.name}\n{path.stat().st_mode & 0o111:o}\n{path.read_text(encoding='utf-8')}" for path in files]
    arguments = [f"{key}={value}" for key, value in {**recipe.arguments, **recipe.contexts}.items()]
    return _digest(_base_fingerprint(recipe.suite), recipe.product, *arguments, *texts)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
