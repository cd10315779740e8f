"""The cache's format in Redis: JSON. The default, pickle, would let anyone who can write to Redis run code here."""

from typing import Any

from django_redis.exceptions import ConnectionInterrupted  # type: ignore[import-untyped]
from django_redis.serializers.json import JSONSerializer  # type: ignore[import-untyped]


class Serializer(JSONSerializer):  # type: ignore[misc]
    """JSON; anything else in Redis, such as an older version's pickle, counts as not found."""

    def loads(self, value: bytes) -> Any:
        """Return the value; raise what IGNORE_EXCEPTIONS turns into a miss."""
        try:
            return super().loads(value)
        except ValueError as error:
            raise ConnectionInterrupted(None) from error
