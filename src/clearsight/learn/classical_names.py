"""Names of classical recognizers: "sift+linear-svm", "sift+colour+rbf-svm", "sift+vlad", "hog"."""

from __future__ import annotations

from typing import Any

from clearsight.core.errors import ConfigError, UnknownKeyError
from clearsight.learn.descriptors import DESCRIPTORS
from clearsight.learn.encoders import ENCODERS
from clearsight.learn.heads import HEADS

GRAMMAR = "A name is DESCRIPTOR[+DESCRIPTOR...][+ENCODER][+HEAD], for example sift+colour+rbf-svm."


def classical_config(model: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the configuration of `classical` that a name asks for; None if it is another name.

    Descriptors, an encoder for the local ones and a head are joined by "+", in this order; all
    but one descriptor may be left out.

    Args:
        model: the name.
        config: what else was decided.

    Raises:
        UnknownKeyError: a part of a joined name is not known; the message has its neighbours.
        ConfigError: the parts make no recognizer, or `config` decides one of them too.

    Example:
        >>> classical_config("hog+logistic", {"side": 32})
        {'side': 32, 'features': ['hog'], 'head': 'logistic'}
    """
    descriptors = DESCRIPTORS.keys()
    if "+" not in model and model not in descriptors:
        return None
    found = _parsed(model)
    for name in found:
        if name in config:
            raise ConfigError(
                f"--model {model} decides the {name}, and so does family.{name}. Give one of them, "
                f"or --model classical with family.{name}."
            )
    return {**config, **found}


def _parsed(model: str) -> dict[str, Any]:
    known = {"features": DESCRIPTORS.keys(), "encoder": ENCODERS.keys(), "head": HEADS.keys()}
    order = list(known)
    found: dict[str, Any] = {}
    last = 0
    for part in model.split("+"):
        kind = next((kind for kind in order if part in known[kind]), None)
        if kind is None:
            allowed = [key for keys in known.values() for key in keys]
            raise UnknownKeyError(f"part of the model {model!r}:", part, allowed)
        place = order.index(kind)
        if place < last or (place == last and kind in found and kind != "features"):
            raise ConfigError(f"{part!r} stands in the wrong place of {model!r}. {GRAMMAR}")
        last = place
        found[kind] = [*found.get(kind, []), part] if kind == "features" else part
    if "features" not in found:
        raise ConfigError(f"{model!r} names no descriptor. {GRAMMAR}")
    return found


def classical_names() -> list[str]:
    """Return the simple names there are, for messages: every descriptor, alone and with a head."""
    descriptors, heads = DESCRIPTORS.keys(), HEADS.keys()
    return [*descriptors, *(f"{key}+{head}" for key in descriptors for head in heads)]
