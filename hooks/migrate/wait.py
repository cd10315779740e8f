def wait_until(acquire: Callable[[], bool]) -> None:
    """Wait until `acquire` has taken the lock; CommandError if that takes too long."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    if acquire():
        return
    logger.info("Another migrate is running on this database: waiting for it")
    while not acquire():
        if time.monotonic() > deadline:
            raise CommandError(
                f"Another migrate has not finished in {LOCK_TIMEOUT:.0f} seconds. "
                "Find out what delays it, or stop it, and try again."
            )
        time.sleep(0.2)
