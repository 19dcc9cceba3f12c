"""Progress bars on stderr, with rate and time left."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit", "")
        speed = task.finished_speed or task.speed
        if unit == "s" or not speed:
            return Text("")
        return Text(f"{speed:,.0f} {unit}/s" if speed >= 10 else f"{speed:.1f} {unit}/s")


class BarProgress:
    """Draws one bar at a time on a terminal, plain lines elsewhere. Implements core's Progress."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%"),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None
        self._name = ""
        self._note = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, task: str, total: float, unit: str) -> None:
        """Begin a bar."""
        self._name, self._note = task, ""
        self._task = self._bars.add_task(task, total=total, unit=unit, note="")

    def advance(self, amount: float, note: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._note = note or self._note
            self._bars.update(self._task, advance=amount, note=self._note)

    def finish(self) -> None:
        """End the bar; off a terminal, leave one line that says what was done."""
        if self._task is None:
            return
        if not sys.stderr.isatty():
            done = self._bars.tasks[-1]
            amount = f"{done.completed:,.0f} {done.fields['unit']}"
            print(
                f"{self._name}: {amount} in {done.elapsed or 0:.1f} s {self._note}", file=sys.stderr
            )
        self._bars.update(self._task, completed=self._bars.tasks[-1].total)
        self._bars.stop_task(self._task)
        self._task = None

    def say(self, event: str, **fields: object) -> None:
        """Print what happened and its details on one line."""
        details = ", ".join(f"{name} {value}" for name, value in fields.items())
        self._console.print(f"{event}{': ' + details if details else ''}", markup=False)
