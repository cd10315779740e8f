"""`python manage.py moveuploads`: between the volume and the bucket of STORAGE_URL."""

import fcntl
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, storages
from django.core.management.base import BaseCommand, CommandError

from ops.storage import StorageError, in_bucket

PART = ".moving"  # what is arriving on the volume: it gets its name when it is complete


def digest(file: Any) -> tuple[int, str]:
    """Return the size of a file in bytes and its SHA-256."""
    size, found = 0, sha256()
    with file:
        for chunk in file.chunks():
            size += len(chunk)
            found.update(chunk)
    return size, found.hexdigest()


class Volume(FileSystemStorage):
    """The volume, where a file appears only when it is complete."""

    def names(self) -> Iterator[str]:
        """List all files, but no links."""
        for folder, _, files in os.walk(self.location):
            paths = (Path(folder, name) for name in files if name != PART)
            yield from [str(path.relative_to(self.location)) for path in paths if not path.is_symlink()]

    def _save(self, name: str, content: File) -> str:
        part, path = Path(self.location, PART), Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            for chunk in content.chunks():
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.rename(path)
        return name


class Command(BaseCommand):
    """Move uploads to where new ones are stored. Interrupted, it goes on when it is run again."""

    help = "Move all uploads to the bucket of STORAGE_URL or, if that ends with new=volume, to the volume."

    def handle(self, *args: Any, **options: Any) -> None:
        """Move them; CommandError if one has to stay, or the bucket cannot be used."""
        if not in_bucket():
            raise CommandError("STORAGE_URL is not set: uploads are on the volume, and stay there.")
        from ops.bucket import Leaving, Objects

        volume, bucket = Volume(), Objects(**settings.STORAGES["default"]["OPTIONS"])
        leaving = isinstance(storages["default"], Leaving)
        source, target = (bucket, volume) if leaving else (volume, bucket)
        try:
            Path(volume.location).mkdir(parents=True, exist_ok=True)
            lock = os.open(volume.location, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.move(source, target)
            finally:
                os.close(lock)
        except BlockingIOError:
            raise CommandError("moveuploads is running already: wait for it.") from None
        except StorageError as error:
            raise CommandError(f"{error} Nothing is lost: run moveuploads again.") from None
        except OSError as error:
            raise CommandError(f"The volume cannot be used ({error}). Nothing is lost.") from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Nothing is lost: run moveuploads again.") from None

    def move(self, source: Any, target: Any) -> None:
        """Move each file: copy it, read the copy, and delete the original only if both are equal."""
        moved, there, size, taken = 0, 0, 0, []
        for name in source.names():
            wanted = digest(source.open(name))
            if target.exists(name):
                if digest(target.open(name)) != wanted:
                    taken.append(name)
                    continue
                there += 1
            else:
                with source.open(name) as file:
                    target._save(name, file)
                if digest(target.open(name)) != wanted:
                    target.delete(name)
                    raise CommandError(f"{name} has arrived damaged, and stays where it was: run moveuploads again.")
                moved += 1
                size += wanted[0]
            source.delete(name)
        self.stdout.write(f"{moved} uploads moved, {size} bytes; {there} were there already.")
        if taken:
            few = ", ".join(taken[:10])
            raise CommandError(f"{len(taken)} stay: the target has others of their names ({few}). Delete one of each.")
