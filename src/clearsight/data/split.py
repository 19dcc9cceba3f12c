"""Train, validation and test parts: stratified, seeded, the same picture never on two sides."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from clearsight.core.errors import ConfigError, DataError
from clearsight.core.seeds import generator
from clearsight.data.dataset import Dataset, Part
from clearsight.data.digests import same_content


def split(
    dataset: Dataset, seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> Dataset:
    """Give every picture a part.

    Parts that the data brings are kept; a part that it lacks is taken from train (pictures
    without a part count as train), class by class. Pictures with the same bytes stay together.
    A class with three different pictures or more is in every part; one with two is in train and
    validation (or test, when validation is there already); one with one is in train alone. A
    picture with several classes counts for the rarest of them.

    Args:
        dataset: the pictures.
        seed: same seed, same parts.
        fractions: train, validation and test shares of what is divided; a share of 0 makes no
            such part.

    Raises:
        DataError: the pictures cannot be trained on (see `require_trainable`).
        ConfigError: the fractions do not add up to 1.
    """
    _check_fractions(fractions)
    require_trainable(dataset)
    present = {sample.part for sample in dataset.samples}
    shares: dict[Part, float] = {"val": fractions[1], "test": fractions[2]}
    wanted = [(part, share) for part, share in shares.items() if part not in present and share > 0]
    parts = _divide(dataset, seed, wanted, fractions[0]) if wanted else {}
    samples = tuple(
        replace(sample, part=parts.get(index, sample.part or "train"))
        for index, sample in enumerate(dataset.samples)
    )
    return replace(dataset, samples=samples)


def require_trainable(dataset: Dataset) -> None:
    """Check that something can be learnt and classes are what they seem.

    Raises:
        DataError: fewer than two classes with training pictures, or two class names that
            differ only in letter case or Unicode form.
    """
    labels = {
        label
        for sample in dataset.samples
        if sample.part in ("train", None)
        for label in sample.labels
    }
    names = [dataset.classes[label] for label in sorted(labels)]
    if len(names) < 2:
        raise DataError(
            f"{dataset.root}: training needs pictures of at least two classes, got "
            f"{len(names)} ({', '.join(names) or 'none'}). Add a folder of pictures for each class."
        )
    for one, other in twins(dataset.classes):
        raise DataError(
            f"{dataset.root}: the classes {one!r} and {other!r} differ only in letter case or "
            "Unicode form. Merge the two, or give one another name."
        )


def twins(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of class names that differ only in letter case, spaces around or Unicode form.

    Example:
        >>> twins(["Cat", "cat", "dog"])
        [('Cat', 'cat')]
    """
    first: dict[str, str] = {}
    pairs = []
    for name in classes:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())
        if first.setdefault(key, name) != name:
            pairs.append((first[key], name))
    return pairs


def _divide(
    dataset: Dataset, seed: int, wanted: list[tuple[Part, float]], train_share: float
) -> dict[int, Part]:
    """Take the wanted parts from train, class by class; return the part of what was taken."""
    pool, strata = dataset.samples, dataset.strata()
    groups: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(same_content(dataset)):
        if pool[index].part in ("train", None):
            groups[number].append(index)
    by_class: dict[int, list[list[int]]] = defaultdict(list)
    for group in groups.values():
        by_class[strata[group[0]]].append(group)
    parts: dict[int, Part] = {}
    total = train_share + sum(share for _, share in wanted)
    for label in sorted(by_class):
        # the class's name, not its number: other classes must not change its parts
        name = dataset.classes[label] if label >= 0 else ""
        order = generator(seed, "split", name).permutation(len(by_class[label]))
        shuffled = [by_class[label][position] for position in order]
        taken = 0
        for part, share in wanted:
            room = len(shuffled) - 1 - taken
            count = min(max(1, round(len(shuffled) * share / total)), max(0, room))
            for group in shuffled[taken : taken + count]:
                parts.update(dict.fromkeys(group, part))
            taken += count
    return parts


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(
            f"The fractions of train, val and test must be three numbers that add up to 1; "
            f"got {fractions}."
        )
    if fractions[0] <= 0:
        raise ConfigError(f"The train part needs a fraction above 0; got {fractions}.")
