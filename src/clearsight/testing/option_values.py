"""Other values for every option of a configuration, to see whether the option does anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError


def other_values(config: Config) -> dict[str, list[Config]]:
    """Return, by option, valid configurations that differ from `config` in this option alone.

    Args:
        config: where to start; options are numbers, switches or one of a few words.

    Raises:
        AssertionError: an option for which no other value is known.
    """
    found = {}
    for name, field in type(config).model_fields.items():
        default = getattr(config, name)
        allowed = list(_valid(config, name, _candidates(field.annotation, default)))
        assert allowed, f"no second value of the option {name!r} is valid"
        found[name] = allowed
    return found


def _candidates(annotation: Any, value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if get_origin(annotation) is Literal:
        return [word for word in get_args(annotation) if word != value]
    if isinstance(value, int):
        return [value + 2, value + 1, value - 1]
    if isinstance(value, float):
        return [value / 2, value * 2, value + 0.5, 0.5, 0.0]
    return []


def _valid(config: Config, name: str, values: list[Any]) -> Iterator[Config]:
    plain = config.model_dump()
    for value in values:
        if value == plain[name]:
            continue
        try:
            yield type(config).parse(plain | {name: value})
        except ConfigError:
            continue
