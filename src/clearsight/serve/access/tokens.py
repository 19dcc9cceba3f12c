"""Keys as text: `csk_4Jd0x7QmZk2B_<40 secret letters and digits><6 of checksum>`.

The prefix lets scanners of repositories and logs find a leaked key, the checksum tells a mistyped
one without asking anybody, the id names the key in lists and logs. Only the SHA-256 of the whole
is kept: 238 random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "csk"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 12, 40, 6
LENGTH = len(PREFIX) + 1 + ID_LENGTH + 1 + SECRET_LENGTH + CHECK_LENGTH
SHAPE = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECK_LENGTH}}}"
)


def new_token() -> tuple[str, str]:
    """Return the id and the text of a new key, from the system's random source.

    Example:
        >>> key_id, token = new_token()
        >>> id_of(token) == key_id
        True
    """
    key_id = _random(ID_LENGTH)
    body = f"{PREFIX}_{key_id}_{_random(SECRET_LENGTH)}"
    return key_id, body + checksum(body)


def id_of(token: str) -> str | None:
    """Return the id in a key's text, None where the text is no key.

    Args:
        token: anything that a client sent.
    """
    match = SHAPE.fullmatch(token)
    if match is None or checksum(token[:-CHECK_LENGTH]) != token[-CHECK_LENGTH:]:
        return None
    return match[1]


def digest(token: str) -> bytes:
    """Return the SHA-256 of a key's text; what is longer than a key costs no more than one."""
    return hashlib.sha256(token[:LENGTH].encode("utf-8", "backslashreplace")).digest()


def checksum(body: str) -> str:
    """Return the CRC-32 of ASCII text as six letters and digits.

    Example:
        >>> checksum("csk_4Jd0x7QmZk2B_")
        '0Klieo'
    """
    value, letters = zlib.crc32(body.encode("ascii")), ""
    for _ in range(CHECK_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        letters = ALPHABET[digit] + letters
    return letters


def presented(authorization: str, api_key: str) -> str | None:
    """Return the key that a request shows, None where it shows none.

    Args:
        authorization: the value of `Authorization`; only `Bearer KEY` is a key, other schemes
            belong to somebody else on the way.
        api_key: the value of `X-API-Key`.

    Returns:
        The text after `Bearer`, or that of `X-API-Key`; "" (never a key) where both differ.

    Example:
        >>> presented("Bearer abc", ""), presented("", "abc"), presented("Basic eDp5", "")
        ('abc', 'abc', None)
    """
    scheme, _, bearer = authorization.strip().partition(" ")
    bearer, api_key = bearer.strip(), api_key.strip()
    if scheme.lower() != "bearer":
        return api_key or None
    return bearer if not api_key or api_key == bearer else ""


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
