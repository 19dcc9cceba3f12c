"""What is to be sent, how, and for how long."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from clearsight.core.config import Config
from clearsight.core.errors import DataError, ImageError
from clearsight.data.header import sniff

PROTOCOLS = ("rest", "oip-rest", "oip-grpc")
MOST_PICTURES = 1000
MOST_PICTURE_BYTES = 256 * 1024 * 1024
PATIENCE_S = 30.0
GRACE_S = 5.0


class LoadPlan(Config):
    """One measurement.

    Args:
        clients: closed loop: so many clients, each with one request at a time.
        rate: open loop: so many requests a second, at random moments (Poisson), whatever comes
            back; None for a closed loop.
        time_s: how long is measured.
        warm_up_s: load before that, which is not counted; clients start one after another in it.
        deadline_s: told to the service; answers later than that are no good answers.
        most_open: requests that may be open at once in an open loop; beyond, they are not sent
            and counted as such.
        seed: of the moments of an open loop.
    """

    clients: int = Field(default=8, ge=1, le=10_000)
    rate: float | None = Field(default=None, gt=0, le=100_000)
    time_s: float = Field(default=30.0, gt=0, le=7 * 86_400)
    warm_up_s: float = Field(default=2.0, ge=0, le=3600)
    deadline_s: float | None = Field(default=None, gt=0, le=3600)
    most_open: int = Field(default=4000, ge=1, le=50_000)
    seed: int = 0

    @model_validator(mode="after")
    def _one_loop(self) -> Self:
        if self.rate is not None and "clients" in self.model_fields_set:
            raise ValueError("say either clients (closed loop) or rate (open loop), not both")
        return self

    @property
    def loop(self) -> Literal["closed", "open"]:
        """Which of the two it is."""
        return "closed" if self.rate is None else "open"

    @property
    def patience_s(self) -> float:
        """How long one request is waited for."""
        return PATIENCE_S if self.deadline_s is None else self.deadline_s + GRACE_S


def read_pictures(paths: Sequence[Path]) -> list[bytes]:
    """Read the pictures to send: files, and files in folders (not below); others are left aside.

    Args:
        paths: a file that is no picture is an error; in a folder it is passed over.

    Raises:
        DataError: a path that cannot be read, no picture at all, or more than fits.
    """
    pictures: list[bytes] = []
    size = 0
    for path in (found for given in paths for found in _files(given)):
        try:
            content = path.read_bytes()
            sniff(content[:32])
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        except ImageError as error:
            if path in paths:
                raise DataError(f"{path}: {error}") from error
            continue
        size += len(content)
        if size > MOST_PICTURE_BYTES:
            raise DataError(
                f"The pictures have more than {MOST_PICTURE_BYTES:,} bytes in all; they are held "
                "in memory. Give fewer or smaller ones."
            )
        pictures.append(content)
    if not pictures:
        raise DataError("There is no picture to send. Give files or folders with --images.")
    return pictures


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    return [path / name for name in names[:MOST_PICTURES]]
