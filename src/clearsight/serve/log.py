"""The service's log: one JSON line an event on stderr; no picture, file name or address in it."""

from __future__ import annotations

import sys


def failure(event: str, error: BaseException, **fields: str) -> None:
    """Log something that should not have happened, with its cause."""
    import structlog  # half of the service's start-up time, and most services never need it

    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )
    logger.error(event, cause=f"{type(error).__name__}: {error}", **fields)
