from __future__ import annotations

import pytest

from clearsight.core.durations import seconds, text
from clearsight.core.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "wanted"),
    [("90", 90), ("90s", 90), ("10m", 600), (" 1.5 h ", 5400), ("2d", 172800), ("0.5s", 0.5)],
)
def test_reads(written: str, wanted: float) -> None:
    assert seconds(written) == wanted


@pytest.mark.parametrize(
    "written", ["", "s", "0", "0m", "-5s", "5 minutes", "1m30s", "nan", "inf", "9" * 400, "1e3"]
)
def test_refuses(written: str) -> None:
    with pytest.raises(ConfigError, match="A time is a positive number"):
        seconds(written)


@pytest.mark.parametrize(
    ("duration_s", "wanted"),
    [(0, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.9, "1 h 0 min")],
)
def test_writes(duration_s: float, wanted: str) -> None:
    assert text(duration_s) == wanted
