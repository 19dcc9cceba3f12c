"""Strict configuration: unknown names fail and the nearest one is named."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from clearsight.core.errors import ConfigError, nearest
from clearsight.core.files import storage_errors


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown fields, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Validate plain values.

        Raises:
            ConfigError: an unknown name (with the nearest one) or a wrong value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(cls, error)) from error


def read_config_file(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON configuration file into plain values.

    Raises:
        ConfigError: another suffix, or not valid TOML/JSON.
        StorageError: the file cannot be read.
    """
    with storage_errors(path):
        content = path.read_bytes()
    try:
        text = content.decode("utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix == ".json":
            values = json.loads(text)
            if isinstance(values, dict):
                return values
            raise ConfigError(f"{path} must hold one JSON object, got {type(values).__name__}.")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid: {error}.") from error
    raise ConfigError(f"{path}: a configuration file ends in .toml or .json.")


def override(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Return `values` with dotted `a.b=value` settings applied; the input is not modified.

    A value is read as JSON where that succeeds (numbers, true, null, lists), else as text. Text for
    what is a group elsewhere is the group's `name`: `loss=focal` with `loss.options.gamma=1`.

    Raises:
        ConfigError: a setting without "=" or with an empty name.

    Example:
        >>> override({"a": {"b": 1}}, ["a.b=2", "c=x"])
        {'a': {'b': 2}, 'c': 'x'}
        >>> override({}, ["loss.options.gamma=1", "loss=focal"])
        {'loss': {'options': {'gamma': 1}, 'name': 'focal'}}
    """
    result: dict[str, Any] = json.loads(json.dumps(values))
    for setting in settings:
        name, separator, text = setting.partition("=")
        path = name.strip().split(".")
        if not separator or not all(path):
            raise ConfigError(f"--set takes name=value, for example seed=1; got {setting!r}.")
        inner = result
        for part in path[:-1]:
            if isinstance(inner.get(part), str):
                inner[part] = {"name": inner[part]}
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {setting}: {part!r} is a value, not a group.")
        last, value = path[-1], _value(text)
        named = isinstance(inner.get(last), dict) and isinstance(value, str)
        inner[last] = {**inner[last], "name": value} if named else value
    return result


def explain(model: type[BaseModel], error: ValidationError) -> str:
    """Put a pydantic error into the house's voice, one line a problem."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            names = _fields_at(model, problem["loc"][:-1])
            lines.append(f"Unknown option {where!r}.{nearest(str(problem['loc'][-1]), names)}")
        else:
            got = repr(problem["input"])[:80]
            lines.append(f"Option {where!r}: {problem['msg']}; got {got}.")
    return "\n".join(lines)


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
