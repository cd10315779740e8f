"""The pool of connections to PostgreSQL."""

from tests.ops.production import PRODUCTION, load


def test_connections_are_bounded() -> None:
    for size, variables in ((8, {}), (3, {"DATABASE_POOL_SIZE": "3"})):
        pool = load(PRODUCTION | variables)["DATABASES"]["default"]["OPTIONS"]["pool"]
        assert (pool["max_size"], pool["timeout"]) == (size, 3)
