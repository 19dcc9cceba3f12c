"""Other values for every option of a configuration, to see whether the option does anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError


def other_values(config: Config) -> dict[str, list[Config]]:
    """Return, by option, valid configurations that differ from `config` in this option alone.

    Args:
        config: where to start; options are numbers, switches, tuples of them or one of a few words.

    Raises:
        ValueError: an option for which no other value is known.
    """
    found = {}
    for name, field in type(config).model_fields.items():
        found[name] = list(_valid(config, name, _others(field.annotation, getattr(config, name))))
        if not found[name]:
            raise ValueError(f"no other value of the option {name!r} is known")
    return found


def other_options(config: type[Config]) -> dict[str, Config]:
    """Return, by option, the default configuration with another allowed value for that option.

    Raises:
        ValueError: an option for which no other value is known.

    Example:
        >>> class Options(Config):
        ...     share: float = 0.5
        >>> other_options(Options)["share"].share
        0.25
    """
    return {name: values[0] for name, values in other_values(config()).items()}


def _others(annotation: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, value + 2)
    elif isinstance(value, float):
        yield from (value / 2, value + 0.5, value * 2, 0.5, 0.25, 1.0, 0.0)
    elif isinstance(value, tuple) and value:
        yield from ((other, *value[1:]) for other in _others(annotation, value[0]))
    else:
        yield from (word for word in get_args(annotation) if word != value)


def _valid(config: Config, name: str, values: Iterator[Any]) -> Iterator[Config]:
    plain = config.model_dump()
    for value in values:
        if value == plain[name]:
            continue
        try:
            yield type(config).parse(plain | {name: value})
        except ConfigError:
            continue
