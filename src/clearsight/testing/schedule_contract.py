"""What every schedule in `learn/schedules/` must satisfy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from clearsight.core.config import Config
from clearsight.learn.schedules import SCHEDULES
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_options

POINTS = [number / 400 for number in range(401)]


class ScheduleContract(Contract):
    """Clauses every schedule satisfies; an implementation is the schedule's class."""

    registry = SCHEDULES

    def check_builds_from_defaults(self, schedule: Any) -> None:
        """Its default configuration survives JSON."""
        config = schedule.Config()
        assert isinstance(config, Config)
        assert schedule.Config.parse(config.model_dump(mode="json")) == config

    def check_stays_within_the_peak(self, schedule: Any) -> None:
        """Between 0 and 1 everywhere; the peak is reached."""
        factors = _curve(schedule, schedule.Config())
        assert min(factors) >= 0
        assert abs(max(factors) - 1) < 1e-6

    def check_is_a_pure_function(self, schedule: Any) -> None:
        """Asked again, in any order and by another object, it says the same."""
        made = schedule(schedule.Config())
        backwards = [made(point) for point in reversed(POINTS)][::-1]
        assert backwards == _curve(schedule, schedule.Config())

    def check_every_option_matters(self, schedule: Any) -> None:
        """Another value of any option gives another curve."""
        plain = _curve(schedule, schedule.Config())
        for name, config in other_options(schedule.Config).items():
            assert _curve(schedule, config) != plain, f"the option {name!r} does nothing"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        calls = itertools.count()
        return {
            "check_builds_from_defaults": _planted(lambda config, p: 1.0, config=object),
            "check_stays_within_the_peak": _planted(lambda config, p: 1 - 2 * p),
            "check_is_a_pure_function": _planted(lambda config, p: 1 / (1 + next(calls))),
            "check_every_option_matters": _planted(lambda config, p: 1 - p),
        }


def _curve(schedule: Any, config: Any) -> list[float]:
    made = schedule(config)
    return [made(point) for point in POINTS]


def _planted(value: Callable[[Any, float], float], config: Any = None) -> Any:
    class Options(Config):
        end: float = 0.5

    class Planted:
        Config = config or Options

        def __init__(self, config: Any) -> None:
            self.config = config

        def __call__(self, progress: float) -> float:
            return value(self.config, progress)

    return Planted
