"""The bucket of STORAGE_URL as Django's storage of uploads. Its packages are optional: see ops/storage.py.

`python manage.py moveuploads` moves what is on the volume; until then it is served and read from there.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from posixpath import join, splitext
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import FileSystemStorage
from storages.backends.s3 import S3Storage

from ops.storage import SECONDS, StorageError, headers

volume = FileSystemStorage()
REFUSALS = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class Objects(S3Storage):  # type: ignore[misc]
    """What is in the bucket."""

    file_overwrite = False
    max_memory_size = 5_000_000  # in bytes: what is larger is read into a file

    def __init__(self, **options: Any) -> None:
        """Take the options that ops/storage.py sets."""
        self.client_config = Config(
            signature_version="s3v4",
            s3={"addressing_style": options["addressing_style"]},
            connect_timeout=3,
            read_timeout=30,
            retries={"total_max_attempts": 2, "mode": "standard"},
            # Other servers than Amazon's do not know the checksums that are sent by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        super().__init__(**options)

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        """Return how an object is stored: with a safe type, even without what `signed_url` adds."""
        kind, disposition = headers(name)
        return {"ContentType": kind, "ContentDisposition": disposition}

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an error of the bucket into a StorageError."""
        try:
            yield
        except ClientError as error:
            answer = error.response.get("Error", {})
            code = str(answer.get("Code", ""))
            if code in REFUSALS:
                reason = f"refuses the key ({code}): check it, and that it may read, write, list and delete"
            elif code in {"404", "NoSuchBucket"}:
                reason = f"has no bucket {self.bucket_name}: create it, or correct STORAGE_URL"
            else:
                reason = f"answers {code} ({answer.get('Message', '')})"
            raise StorageError(f"{self.endpoint_url} {reason}.") from error
        except (BotoCoreError, Boto3Error) as error:
            raise StorageError(f"{self.endpoint_url} does not answer: check the network and STORAGE_URL.") from error

    def problem(self) -> str:
        """Ask for the bucket, and return why it cannot be used, "" if it can."""
        try:
            with self.explained(), closing(self.bucket.meta.client) as client:  # workers must not share its connection
                client.head_bucket(Bucket=self.bucket_name)
        except StorageError as error:
            return str(error)
        return ""

    def names(self) -> Iterator[str]:
        """List all objects."""
        folder = join(self.location, "") if self.location else ""
        with self.explained():
            for each in self.bucket.objects.filter(Prefix=folder):
                yield each.key.removeprefix(folder)

    def signed_url(self, name: str, method: str) -> str:
        """Return an address of an object that expires, and with which it has a safe type."""
        kind, disposition = headers(name)
        parameters = {"ResponseContentType": kind, "ResponseContentDisposition": disposition}
        return str(super().url(name, parameters, SECONDS, method))

    def _open(self, name: str, mode: str = "rb") -> Any:
        with self.explained():
            return super()._open(name, mode)

    def _save(self, name: str, content: Any) -> str:
        with self.explained():
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self.explained():
            super().delete(name)

    def exists(self, name: str) -> bool:
        """Return whether an object is there."""
        with self.explained():
            return bool(super().exists(name))


class Bucket(Objects):
    """The bucket and, before it, what is on the volume because it has not been moved yet."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Always add a random part: a bucket does not refuse a name that another process has just taken."""
        root, end = splitext(name)
        return str(super().get_available_name(self.get_alternative_name(root, end), max_length))

    def url(self, name: str, *_: Any, **__: Any) -> str:
        """Return the address on this site, which does not expire and redirects to the object."""
        return volume.url(name)

    def exists(self, name: str) -> bool:
        """Return whether an upload is in either place."""
        return volume.exists(name) or super().exists(name)

    def size(self, name: str) -> int:
        """Return an upload's size in bytes."""
        return volume.size(name) if volume.exists(name) else int(super().size(name))

    def delete(self, name: str) -> None:
        """Delete an upload in both places."""
        volume.delete(name)
        super().delete(name)

    def _open(self, name: str, mode: str = "rb") -> Any:
        return volume.open(name, mode) if volume.exists(name) else super()._open(name, mode)


class Leaving(Bucket):
    """The same, while a site leaves its bucket: new uploads are stored on the volume."""

    def _save(self, name: str, content: Any) -> str:
        return volume.save(name, content)
