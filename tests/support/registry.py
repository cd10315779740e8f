"""A registry on this machine, in place of the public ones."""

from __future__ import annotations

from contextlib import suppress

from tests.engine import ensure_image
from tests.support.project import Project, free_port, get, until


class Registry:
    """A registry on this machine, which has the images that the site is built from and runs with."""

    def __init__(self, project: Project, names: list[str]) -> None:
        self.project, self.names = project, names
        self.container = f"{project.slug}-registry"
        self.port = free_port()

    def start(self) -> None:
        """Start it, with the images as this machine has them."""
        ensure_image(self.project.engine, "registry:2")
        publish = ["--publish", f"127.0.0.1:{self.port}:5000"]
        self.project.docker("run", "--detach", "--name", self.container, *publish, "registry:2")
        until(self.answers)
        for name in self.names:
            self.project.docker("tag", name, self.at(name))
            self.project.docker("push", "--quiet", self.at(name))

    def answers(self) -> bool:
        """Return whether it answers."""
        with suppress(OSError):
            return get(f"http://127.0.0.1:{self.port}/v2/").status == 200
        return False

    def at(self, name: str) -> str:
        """Return an image's name in this registry."""
        return f"127.0.0.1:{self.port}/{name}"

    def digest(self, name: str) -> str:
        """Return the digest that an image has in this registry."""
        kinds = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json"
        repository, _, tag = name.partition(":")
        url = f"http://127.0.0.1:{self.port}/v2/{repository}/manifests/{tag}"
        return get(url, {"Accept": kinds}, method="HEAD").headers["docker-content-digest"]

    def patch(self) -> None:
        """Publish a newer image under each name, which this machine has not pulled yet."""
        for name in self.names:
            build = f"printf 'FROM {name}\\nLABEL patched=yes\\n' | docker build --quiet --tag {self.at(name)} -"
            self.project.run("sh", "-c", build)
            self.project.docker("push", "--quiet", self.at(name))
            self.project.docker("tag", name, self.at(name))

    def remove(self) -> None:
        """Remove it, and the names that it gave to images."""
        names = " ".join(map(self.at, self.names))
        self.project.run("sh", "-c", f"docker rm --force {self.container}; docker image rm {names} || true")
