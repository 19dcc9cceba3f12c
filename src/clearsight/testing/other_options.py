"""Other values for the options of a configuration, to see whether each of them does something."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, get_args

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError


def other_options(config: type[Config]) -> dict[str, Config]:
    """Return, by option, the default configuration with another allowed value for that option.

    Args:
        config: numbers, booleans, tuples of them and choices among words are understood.

    Raises:
        ValueError: no other value could be found for an option.

    Example:
        >>> class Options(Config):
        ...     share: float = 0.5
        >>> other_options(Options)["share"].share
        0.25
    """
    found = {}
    for name, field in config.model_fields.items():
        for value in _candidates(field.default, field.annotation):
            with contextlib.suppress(ConfigError):
                found[name] = config.parse({name: value})
                break
        else:
            raise ValueError(f"no other value of the option {name!r} is known")
    return found


def _candidates(default: Any, annotation: Any) -> Iterator[Any]:
    if isinstance(default, bool):
        yield not default
    elif isinstance(default, int):
        yield from (default + 1, default - 1)
    elif isinstance(default, float):
        yield from (default / 2, default + 0.5) if default else (0.25, 1.0)
    elif isinstance(default, tuple) and default:
        yield from ((other, *default[1:]) for other in _candidates(default[0], annotation))
    else:
        yield from (choice for choice in get_args(annotation) if choice != default)
