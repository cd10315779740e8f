"""Ignore old tests of modules that have moved to ops/. Delete those tests, then this file."""

collect_ignore = ["tests/test_logs.py", "tests/test_mail.py", "tests/test_migrate.py", "tests/test_observe.py"]
