"""Corrections: what a picture really shows, kept until they become training data.

A correction is one small JSON file; its picture, where the client sent it again, lies beside under
the hash of its bytes. Nothing is kept of a picture that nobody sent for this purpose.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clearsight.core.errors import StorageError
from clearsight.core.files import storage_errors, write_bytes
from clearsight.data.decode import Limits, check_limits, read_header
from clearsight.serve.calls import Observation
from clearsight.serve.errors import ImpossibleRequestError, QuotaError

FOLDER = "feedback"
PICTURES = "pictures"
SUFFIX = ".json"
LABEL_LENGTH = 200
MOST_RECENT = 10_000
FULL_RETRY_S = 3600.0
FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Correction:
    """What one person said about one picture.

    Args:
        id: of the correction.
        time: UTC seconds since 1970.
        request: id of the request that was answered wrongly; "" when it was not told.
        model, version: what answered; "" when it is not known any more.
        predicted: the label that was given; "" when it is not known any more.
        label: the right one.
        key, tenant: who said it.
        picture: file name in `pictures/`; "" when no picture was sent.
    """

    id: str
    time: float
    request: str
    model: str
    version: str
    predicted: str
    label: str
    key: str
    tenant: str
    picture: str


@dataclass(frozen=True, slots=True)
class Recent:
    """The answer to a request that may still be corrected."""

    model: str
    version: str
    label: str
    caller_id: str


class RecentAnswers:
    """Remembers the newest answers, so that a correction need only name its request.

    Args:
        most: how many.
    """

    def __init__(self, most: int = MOST_RECENT) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, Recent | None] = OrderedDict()

    def observe(self, seen: Observation) -> None:
        """Remember one answer; called on the worker's thread."""
        if seen.prediction is None or seen.shadow or not seen.request_id:
            return
        answer = Recent(seen.model, seen.version, seen.prediction.label, seen.caller_id)
        with self._lock:
            several = seen.request_id in self._answers  # then it is not known which one is meant
            self._answers[seen.request_id] = None if several else answer
            if len(self._answers) > self._most:
                self._answers.popitem(last=False)

    def find(self, request_id: str, caller_id: str) -> Recent | None:
        """Return the answer to a request of one picture of the same caller, else None."""
        with self._lock:
            found = self._answers.get(request_id)
        return found if found is not None and found.caller_id == caller_id else None


class Feedback:
    """Corrections in a store folder.

    Args:
        store: the service's store folder.
        quota_bytes: that corrections and their pictures may take together.
        limits: of a picture.

    Raises:
        StorageError: the folder cannot be made or read.
    """

    def __init__(self, store: Path, quota_bytes: int, limits: Limits | None = None) -> None:
        self.folder = store / FOLDER
        self._pictures = self.folder / PICTURES
        self._quota, self._limits = quota_bytes, limits or Limits()
        self._lock = threading.Lock()
        with storage_errors(self.folder):
            self._pictures.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self.folder.chmod(FOLDER_MODE)
            self.used_bytes = sum(
                file.stat().st_size for file in self.folder.rglob("*") if file.is_file()
            )

    def add(
        self,
        label: str,
        picture: bytes | None = None,
        request: str = "",
        answer: Recent | None = None,
        key: str = "",
        tenant: str = "",
    ) -> Correction:
        """Keep one correction; returns when it is on the disk.

        Args:
            label: the right label; a class the model does not know is welcome.
            picture: encoded, where the client sent it.
            request: the id of the request that is corrected.
            answer: what was answered, where it is known.
            key, tenant: of the caller.

        Raises:
            ImpossibleRequestError: a label that cannot be one.
            ImageError: the picture cannot be used.
            QuotaError: there is no room.
            StorageError: an I/O failure; nothing is kept.
        """
        label = _checked(label)
        name = "" if picture is None else self._picture_name(picture)
        correction = Correction(
            id=uuid.uuid4().hex,
            time=round(time.time(), 3),
            request=request,
            model=answer.model if answer else "",
            version=answer.version if answer else "",
            predicted=answer.label if answer else "",
            label=label,
            key=key,
            tenant=tenant,
            picture=name,
        )
        content = json.dumps(asdict(correction), ensure_ascii=False).encode("utf-8")
        with self._lock:
            new = picture is not None and not (self._pictures / name).exists()
            needed = len(content) + (len(picture) if new and picture is not None else 0)
            if self.used_bytes + needed > self._quota:
                raise QuotaError(
                    f"The room for corrections is used up ({self._quota:,} bytes). Ask the "
                    "operator to export and clear them.",
                    FULL_RETRY_S,
                )
            if new and picture is not None:
                write_bytes(self._pictures / name, picture)
            write_bytes(self.folder / _file_name(correction), content)
            self.used_bytes += needed
        return correction

    def _picture_name(self, picture: bytes) -> str:
        header = read_header(picture)
        check_limits(header, len(picture), self._limits)
        return f"{hashlib.sha256(picture).hexdigest()}.{header.format}"


def corrections(store: Path) -> Iterator[Correction]:
    """Yield every correction of a store folder, oldest first.

    Raises:
        StorageError: a file that is no correction, or an I/O failure.
    """
    folder = store / FOLDER
    with storage_errors(folder):
        files = sorted(folder.glob(f"*{SUFFIX}")) if folder.exists() else []
        for file in files:
            try:
                yield Correction(**_values(json.loads(file.read_bytes())))
            except (ValueError, TypeError, RecursionError) as error:
                raise StorageError(
                    f"{file} is no correction: {error}. Remove it, and report this."
                ) from error


def picture_path(store: Path, correction: Correction) -> Path:
    """Return where the picture of a correction lies."""
    return store / FOLDER / PICTURES / Path(correction.picture).name


def clear(store: Path, older_than: float) -> int:
    """Remove the corrections that were made before a time, and pictures nobody names any more.

    Args:
        store: the service's store folder; no service should run on it.
        older_than: UTC seconds since 1970.

    Returns:
        How many corrections were removed.
    """
    kept, removed = set(), 0
    for correction in list(corrections(store)):
        if correction.time >= older_than:
            kept.add(correction.picture)
            continue
        with storage_errors(store):
            (store / FOLDER / _file_name(correction)).unlink(missing_ok=True)
        removed += 1
    with storage_errors(store):
        for file in (store / FOLDER / PICTURES).glob("*"):
            if file.name not in kept:
                file.unlink(missing_ok=True)
    return removed


def _file_name(correction: Correction) -> str:
    return f"{int(correction.time * 1000):015d}-{correction.id}{SUFFIX}"


def _checked(label: str) -> str:
    stripped = label.strip()
    if not 1 <= len(stripped) <= LABEL_LENGTH or not stripped.isprintable():
        raise ImpossibleRequestError(
            f"'label' must be 1 to {LABEL_LENGTH} printable characters; got {len(stripped)}."
        )
    return stripped


def _values(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value
