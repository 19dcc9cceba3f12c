"""What a study varies: derived from the settings themselves, in this one place.

Of a family's own options (`family.*`) every one with a default is varied around it by the rules
of `_derived`, but for those in FIXED. Of `training.*`, which families share, `_training` says what
is varied. What the user decided is never varied.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic.fields import FieldInfo

from clearsight.learn.choose import Candidate
from clearsight.learn.contest import build_family, named
from clearsight.learn.family import Facts
from clearsight.learn.imbalance import find_remedy
from clearsight.learn.settings import TrainSettings

FIXED = frozenset({"name", "backbone", "pretrained", "side", "max_epochs", "memory_bytes"})
"""Options that name the network, or trade quality for time or memory: the user's to decide."""
SPREAD = 4.0
"""A rate is varied from its default divided by this to its default times this."""
WIDEST_SHARE, WIDEST_DECAY = 0.3, 0.05
RECIPES = {"compact": (0.03, 0.01, 0.1), "textbook": (1e-3, 0.0, 0.0), "timm": (3e-4, 0.02, 0.1)}
"""Peak rate, weight decay and label smoothing of families as they are by default."""
OTHER_RECIPE = (1e-3, 0.01, 0.0)
OWN = "own"
"""The family's own choice: nothing is set."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """One thing that is varied.

    Args:
        name: the setting, for example "training.lr".
        choices: settings by label, for choices; `low` and `high` do not count then.
        low, high: ends of a range.
        log: even steps are factors.
        whole: whole numbers only.
        default: where a study begins: a label, or a number in the range.
        also: settings that go with it.
    """

    name: str
    choices: Mapping[str, Values] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    default: Any = None
    also: Values = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Every setting that it may set."""
        chosen = (self.choices or {}).values()
        return {self.name, *self.also, *(name for values in chosen for name in values)}

    def values(self, drawn: Any) -> Values:
        """Return the settings that a drawn label or number stands for."""
        if self.choices is not None:
            return dict(self.choices[drawn])
        return {**self.also, self.name: drawn}

    def to_json(self) -> Values:
        """Return JSON-ready values."""
        if self.choices is not None:
            return {"setting": self.name, "choices": list(self.choices), "first": self.default}
        told = {"setting": self.name, "from": self.low, "to": self.high, "first": self.default}
        return {**told, "scale": "log" if self.log else "even"}


@dataclass(frozen=True)
class Space:
    """What a study varies, by model.

    Args:
        axes: by the name of the model.
    """

    axes: dict[str, tuple[Axis, ...]]

    def to_json(self) -> dict[str, list[Values]]:
        """Return JSON-ready values."""
        return {model: [axis.to_json() for axis in axes] for model, axes in self.axes.items()}

    def settings(self, base: TrainSettings, model: str, values: Values) -> TrainSettings:
        """Return the settings of a trial.

        Args:
            base: what the study was asked for.
            model: which one.
            values: settings by dotted name.

        Raises:
            ConfigError: the values make no valid training.
        """
        plain = base.model_dump(mode="json")
        plain["training"] = {k: v for k, v in plain["training"].items() if v is not None}
        plain["model"] = model
        for name, value in values.items():
            inner, *path = plain, *name.split(".")
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = value
        return TrainSettings.parse(plain)


def derive_space(models: Iterable[str], base: TrainSettings, facts: Facts) -> Space:
    """Return what is varied for each model.

    Args:
        models: as `--model` names them.
        base: what the user decided is not varied.
        facts: of the training part.

    Raises:
        UnknownKeyError: no such model.
        ConfigError: what the user decided does not fit one of the models.
    """
    decided = decisions(base)
    axes = {}
    for model in models:
        candidate = named(model, base.family)
        family = build_family(candidate)
        taken = decided | {f"family.{name}" for name in candidate.config}
        found = [*_own(candidate, facts), *_derived(type(family.config).model_fields)]
        if family.capabilities.gradients:
            found += _training(candidate.key, base, facts)
        axes[model] = tuple(axis for axis in _once(found) if not _touches(axis, taken))
    return Space(axes)


def decisions(base: TrainSettings) -> set[str]:
    """Return the dotted names of what the user decided about families and training."""
    return {f"family.{name}" for name in base.family} | {
        f"training.{name}" for name in base.training.given()
    }


def _derived(fields: Mapping[str, FieldInfo]) -> list[Axis]:
    """Return an axis for every option whose type and default say how it may be varied."""
    found = []
    for name, info in fields.items():
        axis = None if name in FIXED else _axis(f"family.{name}", info)
        if axis is not None:
            found.append(axis)
    return found


def _axis(name: str, info: FieldInfo) -> Axis | None:
    default, low, high = info.default, _bound(info, "ge", "gt"), _bound(info, "le", "lt")
    if typing.get_origin(info.annotation) is Literal:
        labels = typing.get_args(info.annotation)
        return _choice(name, {str(label): {name: label} for label in labels}, str(default))
    if isinstance(default, bool):
        return _choice(
            name, {str(v).lower(): {name: v} for v in (False, True)}, str(default).lower()
        )
    if isinstance(default, int):
        ends = (
            max(int(low or 0), default // 2),
            min(int(high or 2 * default), max(2 * default, 1)),
        )
        return Axis(name, None, *ends, log=ends[0] > 0, whole=True, default=default)
    if isinstance(default, float) and high is not None and high <= 1:
        widest = min(0.9 * high, max(WIDEST_SHARE, 2 * default))
        return Axis(name, None, low or 0.0, widest, default=default)
    if isinstance(default, float) and default > 0:
        return _rate(name, default)
    return None


def _training(key: str, base: TrainSettings, facts: Facts) -> list[Axis]:
    """Return what is varied of the options that gradient families share."""
    from clearsight.learn.augment import AUGMENTS
    from clearsight.learn.averaging import AVERAGES
    from clearsight.learn.mixes import MIXES
    from clearsight.learn.optimizers import OPTIMIZERS

    rate, decay, smoothing = RECIPES.get(key, OTHER_RECIPE)
    optimizer = base.training.optimizer
    if optimizer is not None and optimizer.name in OPTIMIZERS.keys():  # noqa: SIM118
        rate = OPTIMIZERS.load(optimizer.name).lr
    own: dict[str, Values] = {OWN: {}}
    strong = ("trivial-augment", "rand-augment", "augmix", "random-erasing")
    known, mixes, averages = AUGMENTS.keys(), MIXES.keys(), AVERAGES.keys()
    augment: dict[str, Values] = {k: {"training.augment": [k]} for k in strong if k in known}
    mix: dict[str, Values] = {key: {"training.mix": key} for key in mixes}
    averaging: dict[str, Values] = {key: {"training.averaging": key} for key in averages}
    found = [
        _rate("training.lr", rate),
        _rate("training.weight_decay", decay),
        _choice("training.augment", own | augment, OWN),
        _choice("training.mix", own | mix, OWN),
        _choice("training.averaging", own | averaging, OWN),
    ]
    if facts.task == "single-label" and find_remedy(facts, base.imbalance) is None:
        loss = {"training.loss.name": "cross-entropy"}
        name = "training.loss.options.smoothing"
        found.append(Axis(name, None, 0.0, WIDEST_SHARE, default=smoothing, also=loss))
    return found


def _own(candidate: Candidate, facts: Facts) -> list[Axis]:
    """Return what is varied of families that are put together from parts."""
    if candidate.key != "classical":
        return []
    from clearsight.learn.descriptors import DESCRIPTORS
    from clearsight.learn.encoders import ENCODERS
    from clearsight.learn.heads import HEADS

    joined = [["hog", "sift"]] if facts.grey else [["hog", "colour"], ["hog", "sift", "colour"]]
    known, heads = DESCRIPTORS.keys(), HEADS.keys()
    combinations = [[key] for key in known if key != "colour" or not facts.grey]
    combinations += [keys for keys in joined if set(keys) <= set(known)]
    features: dict[str, Values] = {}
    for keys in combinations:
        label, chosen = "+".join(keys), {"family.features": keys}
        local = any(DESCRIPTORS.load(key).kind == "local" for key in keys)
        encoders = ENCODERS.keys() if local else [None]
        for encoder in encoders:
            features[f"{label}+{encoder}" if encoder else label] = (
                {**chosen, "family.encoder": encoder} if encoder else chosen
            )
    config = build_family(Candidate("classical")).config
    return [
        _choice("family.features", features, "+".join(config.features)),
        _choice("family.head", {key: {"family.head": key} for key in heads}, config.head),
    ]


def _choice(name: str, choices: dict[str, Values], default: str) -> Axis:
    first = default if default in choices else next(iter(choices))
    return Axis(name, choices, default=first)


def _rate(name: str, default: float) -> Axis:
    if not default:
        return Axis(name, None, 0.0, WIDEST_DECAY, default=0.0)
    return Axis(name, None, default / SPREAD, default * SPREAD, log=True, default=default)


def _bound(info: FieldInfo, *kinds: str) -> Any:
    """Return the option's own limit of one of these kinds, or None."""
    limits = (getattr(item, kind, None) for item in info.metadata for kind in kinds)
    return next((limit for limit in limits if limit is not None), None)


def _once(axes: list[Axis]) -> list[Axis]:
    """Keep one axis a setting, whatever family or training calls it; a family's own comes first."""
    seen: set[str] = set()
    kept = []
    for axis in axes:
        last = axis.name.rsplit(".", 1)[1]
        if last not in seen and len(axis.choices or (1, 2)) > 1 and _varies(axis):
            kept.append(axis)
        seen.add(last)
    return kept


def _varies(axis: Axis) -> bool:
    return axis.choices is not None or axis.low < axis.high


def _touches(axis: Axis, taken: set[str]) -> bool:
    """Whether an axis would set something that was decided, or a part of it."""
    return any(
        name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.")
        for name in axis.names
        for other in taken
    )
