"""What every averaging in `learn/averaging/` must satisfy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from clearsight.core.config import Config
from clearsight.learn.averaging import AVERAGES
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_options

STEPS = 2000


class AveragingContract(Contract):
    """Clauses every averaging satisfies; an implementation is its class."""

    registry = AVERAGES

    def check_builds_from_defaults(self, averaging: Any) -> None:
        """Its default configuration survives JSON."""
        config = averaging.Config()
        assert isinstance(config, Config)
        assert averaging.Config.parse(config.model_dump(mode="json")) == config

    def check_begins_with_the_first_weights(self, averaging: Any) -> None:
        """The first weights that count make up the whole mean; the others a part of it."""
        shares = [share for share in _shares(averaging, averaging.Config()) if share is not None]
        assert shares[0] == 1
        assert all(0 < share <= 1 for share in shares)
        assert max(shares[1:]) < 1

    def check_keeps_the_end(self, averaging: Any) -> None:
        """The last step counts, and the initial weights are forgotten: under 1 % of the mean."""
        shares = _shares(averaging, averaging.Config())
        assert shares[-1] is not None
        left = 1.0
        for share in shares[1:]:
            left *= 1 - share if share is not None and shares[0] is not None else 1.0
        assert shares[0] is None or left < 0.01

    def check_is_a_pure_function(self, averaging: Any) -> None:
        """Asked again by another object, it says the same: a resumed training averages alike."""
        first, second = (_shares(averaging, averaging.Config()) for _ in range(2))
        assert first == second

    def check_every_option_matters(self, averaging: Any) -> None:
        """Another value of any option gives other shares."""
        plain = _shares(averaging, averaging.Config())
        for name, config in other_options(averaging.Config).items():
            assert _shares(averaging, config) != plain, f"the option {name!r} does nothing"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        calls = itertools.count(1)
        return {
            "check_builds_from_defaults": _planted(lambda taken, p: 1.0, config=object),
            "check_begins_with_the_first_weights": _planted(lambda taken, p: 0.5),
            "check_keeps_the_end": _planted(lambda taken, p: 1.0 if p == 0 else 1e-6),
            "check_is_a_pure_function": _planted(lambda taken, p: 1 / next(calls)),
            "check_every_option_matters": _planted(lambda taken, p: 1 / (1 + taken)),
        }


def _shares(averaging: Any, config: Any) -> list[float | None]:
    made, taken = averaging(config), 0
    shares = []
    for step in range(STEPS):
        shares.append(made.share(taken, step / STEPS))
        taken += shares[-1] is not None
    return shares


def _planted(share: Callable[[int, float], float | None], config: Any = None) -> Any:
    class Options(Config):
        length: float = 0.5

    class Planted:
        Config = config or Options

        def __init__(self, config: Any) -> None:
            self.config = config

        def share(self, taken: int, progress: float) -> float | None:
            return share(taken, progress)

    return Planted
