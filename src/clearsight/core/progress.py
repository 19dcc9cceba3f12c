"""How long work tells what it does, without knowing who watches."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What long work calls. The command line draws bars; tests collect; the default is silent."""

    def start(self, task: str, total: float, unit: str) -> None:
        """Begin a task of `total` units ("images", "s", "steps")."""

    def advance(self, amount: float, note: str = "") -> None:
        """Report `amount` more units done; `note` is a short text such as "val 0.93"."""

    def finish(self) -> None:
        """End the current task."""

    def say(self, event: str, **fields: object) -> None:
        """Report something that happened: a fallback, a skipped file, a choice and its reason."""


class Silent:
    """A Progress that drops what it is told."""

    def start(self, task: str, total: float, unit: str) -> None:
        """Do nothing."""

    def advance(self, amount: float, note: str = "") -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def say(self, event: str, **fields: object) -> None:
        """Do nothing."""
