from __future__ import annotations

from pathlib import Path

import pytest

from clearsight.core.config import Config, override, read_config_file
from clearsight.core.errors import ConfigError, StorageError


class Inner(Config):
    rate: float = 0.1
    rounds: int = 3


class Outer(Config):
    seed: int = 0
    inner: Inner = Inner()


def test_unknown_name_fails_and_the_nearest_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Unknown option 'sead'\. Did you mean 'seed'"):
        Outer.parse({"sead": 1})
    with pytest.raises(ConfigError, match=r"Unknown option 'inner\.rat'\. Did you mean 'rate'"):
        Outer.parse({"inner": {"rat": 1}})


def test_wrong_value_says_what_was_got() -> None:
    with pytest.raises(ConfigError, match=r"'inner\.rounds'.*got 'many'"):
        Outer.parse({"inner": {"rounds": "many"}})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_nan(value: float) -> None:
    with pytest.raises(ConfigError):
        Inner.parse({"rate": value})


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().seed = 2  # type: ignore[misc]


def test_override_is_dotted_and_leaves_its_input_alone() -> None:
    values = {"inner": {"rate": 1.0}}
    result = override(values, ["inner.rate=0.5", "name=cat", "deep.er=[1, null]"])
    assert result == {"inner": {"rate": 0.5}, "name": "cat", "deep": {"er": [1, None]}}
    assert values == {"inner": {"rate": 1.0}}


@pytest.mark.parametrize("setting", ["seed", "=1", "a..b=1", ".=1"])
def test_override_refuses(setting: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        override({}, [setting])


def test_override_inside_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="is a value"):
        override({"seed": 1}, ["seed.x=1"])


def test_hostile_values_stay_text() -> None:
    assert override({}, ["a=" + "[" * 100_000])["a"].startswith("[")
    assert override({}, ["a=" + "9" * 10_000])["a"].startswith("9")


@pytest.mark.parametrize(
    ("name", "text"), [("c.toml", "[inner]\nrate = 2.0"), ("c.json", '{"inner": {"rate": 2.0}}')]
)
def test_reads_toml_and_json(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_config_file(tmp_path / name) == {"inner": {"rate": 2.0}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.toml", b"= 1"),
        ("c.json", b"{"),
        ("c.json", b"[1]"),
        ("c.json", b"\xff\xfe{}"),
        ("c.json", b"[" * 100_000),
        ("c.yaml", b"a: 1"),
        ("c", b""),
    ],
)
def test_bad_files_are_typed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError):
        read_config_file(tmp_path / name)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        read_config_file(tmp_path / "none.json")
