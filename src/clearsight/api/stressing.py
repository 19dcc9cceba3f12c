"""Robustness of a RUN or a Bundle: composes scoring's pictures with the room `robust`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearsight.api.cards import update_card
from clearsight.api.scoring import held_out, labelled
from clearsight.core.bundle import find_bundle, open_bundle
from clearsight.core.errors import ImageError, MissingExtraError, UsageError
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.core.bundle import Bundle
    from clearsight.data.dataset import Dataset
    from clearsight.engines.predictor import BundlePredictor
    from clearsight.robust.plan import Piece
    from clearsight.robust.robustness import Robustness

EPSILON = 8 / 255
SEVERITIES = (1, 2, 3, 4, 5)


def stress(
    run: str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    suite: str = "all",
    limit: int | None = 1000,
    kinds: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    epsilon: float = EPSILON,
    attack_limit: int = 100,
    certify: float | None = None,
    engine: str | None = None,
    variant: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Robustness:
    """Measure what breaks a recognizer, and write the robustness card.

    Args:
        run: RUN or Bundle.
        data: labelled pictures; None takes the test part of what RUN was trained on.
        out: the card; None writes RUN/robustness.html, of a variant RUN/robustness-VARIANT.html.
            Beside it stands the same as JSON.
        suite: corruptions, deformations, attacks or all.
        limit: pictures to measure, a random sample; None takes all.
        kinds: only these corruptions and deformations; all where empty.
        severities: 1 to 5.
        epsilon: how far an attack may change each pixel, of a range from 0 to 1 (Linf).
        attack_limit: pictures that are attacked at most.
        certify: standard deviation of the noise (pixels from 0 to 1) with which 50 pictures are
            certified; None certifies nothing.
        engine: key of an engine; None takes the fastest there.
        variant: a variant of the Bundle; it is attacked as a black box.
        seed: fixes the sample and every random choice.
        progress: where to report; None is silent.

    Returns:
        Everything that was found.

    Raises:
        UsageError: an option that cannot be, a multi-label recognizer, or a Bundle without `out`.
        DataError: nothing to score, or classes that the recognizer does not know.
    """
    return stress_run(
        Path(run),
        None if data is None else Path(data),
        None if out is None else Path(out),
        suite=suite,
        limit=limit,
        kinds=kinds,
        severities=severities,
        epsilon=epsilon,
        attack_limit=attack_limit,
        certify=certify,
        engine=engine,
        variant=variant,
        seed=seed,
        progress=progress,
    )[0]


def stress_run(
    run: Path,
    data: Path | None,
    out: Path | None,
    *,
    suite: str = "all",
    limit: int | None = 1000,
    kinds: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    epsilon: float = EPSILON,
    attack_limit: int = 100,
    certify: float | None = None,
    fail_on: Sequence[str] = (),
    engine: str | None = None,
    variant: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Robustness, Path, list[str]]:
    """Measure and write the card; return findings, the card's path and the gates that failed.

    Args:
        fail_on: gates such as "fog@3<0.6"; see `robust.gates`.

    The other arguments and what is raised: see `stress`.
    """
    from clearsight.engines.open import open_predictor
    from clearsight.robust.card import write_card
    from clearsight.robust.gates import parse_gates, unmet
    from clearsight.robust.plan import Plan, plan_attacks, plan_views
    from clearsight.robust.stress import stress as measure

    progress = progress or Silent()
    if out is None and find_bundle(run) == run:
        raise UsageError(
            f"{run} is a Bundle and stays as it is: say where to write with --out FILE."
        )
    _check(limit, attack_limit, certify, epsilon)
    bundle = open_bundle(run)
    grey = bundle.manifest.preprocessing.channels == 1
    views, left_out = plan_views(suite, grey, kinds, severities)
    model, why = _differentiable(bundle, variant) if suite in ("attacks", "all") else (None, "")
    plan = Plan(
        views=views,
        attacks=plan_attacks(model) if suite in ("attacks", "all") else {},
        model=model,
        black_box=why,
        epsilon=epsilon,
        attack_limit=attack_limit,
        sigma=certify,
        left_out=left_out,
        seed=seed,
    )
    gates = parse_gates(fail_on, plan)
    if why:
        progress.say("attacked as a black box", reason=why)
    dataset, part = held_out(run) if data is None else labelled(data)
    dataset = _sample(dataset, limit, seed)
    predictor = open_predictor(bundle, engine, variant=variant)
    progress.say(f"Stressing with {len(dataset)} pictures ({part})", engine=predictor.engine)
    found = measure(predictor, _pieces(predictor, dataset, progress), len(dataset), plan, progress)
    name = f"robustness-{variant}.html" if variant else "robustness.html"
    card = out or run / name
    write_card(card, found, _about(run, dataset, part, predictor))
    update_card(run, bundle, progress)
    return found, card, unmet(gates, found)


def _check(limit: int | None, attack_limit: int, certify: float | None, epsilon: float) -> None:
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be 1 or more; got {limit}.")
    if attack_limit < 1:
        raise UsageError(f"attack_limit must be 1 or more; got {attack_limit}.")
    if certify is not None and not 0 < certify <= 10:
        raise UsageError(
            f"certify is the standard deviation of noise on pixels from 0 to 1, above 0; "
            f"got {certify}."
        )
    if not 0 < epsilon <= 1:
        raise UsageError(f"epsilon must be above 0 and at most 1; got {epsilon}.")


def _differentiable(bundle: Bundle, variant: str | None) -> tuple[Any, str]:
    """Return what gives gradients, or None and the reason why nothing does."""
    if variant:
        return None, f"the variant {variant} is of lower precision and gives no gradients"
    try:
        from clearsight.engines.torch_live import open_live

        return open_live(bundle), ""
    except (MissingExtraError, UsageError) as error:
        return None, str(error)


def _sample(dataset: Dataset, limit: int | None, seed: int) -> Dataset:
    """Return a random sample in random order: the first pictures are those that are attacked."""
    from clearsight.core.seeds import generator

    order = generator(seed, "stress").permutation(len(dataset))
    return dataset.select(order[:limit].tolist())


def _pieces(predictor: BundlePredictor, dataset: Dataset, progress: Progress) -> Iterator[Piece]:
    """Yield the pictures that can be decoded, with the recognizer's columns."""
    import numpy as np

    from clearsight.evaluate.prepared import prepared
    from clearsight.evaluate.score import match_classes
    from clearsight.robust.plan import Piece

    columns = match_classes(predictor, dataset)
    for batch in prepared(predictor, dataset.encoded, len(dataset)):
        good = [(place, image) for place, image in batch if not isinstance(image, ImageError)]
        for place, image in batch:
            if isinstance(image, ImageError):
                progress.say("quarantined", path=dataset.samples[place].name, reason=image.reason)
        if good:
            places = [place for place, _ in good]
            labels = [columns[dataset.samples[place].label] for place in places]
            images = np.stack([image for _, image in good])
            yield Piece(images, np.array(labels, np.int64), places)


def _about(run: Path, dataset: Dataset, part: str, predictor: BundlePredictor) -> dict[str, Any]:
    return {
        "family": predictor.manifest.family,
        "id": predictor.manifest.id,
        "run": str(run),
        "data": str(dataset.root),
        "part": part,
        "engine": predictor.engine,
        "variant": predictor.variant or None,
    }
