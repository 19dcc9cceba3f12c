"""Answers that were given before, so that the same picture need not be sent or run twice.

Off unless the operator asks for it, because an answer says something about a picture. Nothing of a
picture is kept but its hash, and a key is only ever told what it was told before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass

from clearsight.core.nouns import Prediction
from clearsight.serve.access.caller import Caller
from clearsight.serve.models import Model

SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]{44}):")


@dataclass(frozen=True, slots=True)
class Asked:
    """What makes two questions the same: who asked, which version, how many labels, which bytes."""

    caller: Caller
    model: str
    version: str
    top: int
    sha256: bytes


def asked(caller: Caller, model: Model, top: int, sha256: bytes) -> Asked:
    """Return the key of a question."""
    return Asked(caller, model.name, model.version, top, sha256)


class Remembered:
    """The newest answers. Thread-safe.

    Args:
        limit: how many; 0 remembers nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.hits = limit, 0
        self._lock = threading.Lock()
        self._answers: OrderedDict[Asked, Prediction] = OrderedDict()

    def find(self, question: Asked) -> Prediction | None:
        """Return the answer that was given, None where it is not remembered."""
        with self._lock:
            found = self._answers.get(question)
            if found is not None:
                self._answers.move_to_end(question)
                self.hits += 1
            return found

    def keep(self, question: Asked, answer: Prediction) -> None:
        """Remember an answer, in place of the one that was not asked for longest."""
        with self._lock:
            self._answers[question] = answer
            self._answers.move_to_end(question)
            if len(self._answers) > self.limit:
                self._answers.popitem(last=False)


def digest_of(picture: bytes) -> bytes:
    """Return the SHA-256 of a picture's bytes."""
    return hashlib.sha256(picture).digest()


def announced_digest(header: str) -> bytes | None:
    """Read the SHA-256 out of a Content-Digest header; None where there is none.

    Source: RFC 9530.

    Example:
        >>> announced_digest("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:").hex()[:8]
        'e3b0c442'
    """
    found = SHA256.search(header)
    if found is None:
        return None
    try:
        return base64.b64decode(found[1], validate=True)
    except binascii.Error:
        return None
