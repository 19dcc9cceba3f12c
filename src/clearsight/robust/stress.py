"""Puts a recognizer under stress: every view of every picture, in pieces of bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from clearsight.core.errors import DataError, UsageError
from clearsight.core.nouns import ImagesNHWC, Predictor
from clearsight.core.progress import Progress
from clearsight.core.seeds import derive_seed
from clearsight.robust.attacked import (
    ENSEMBLE,
    Attacked,
    Rounded,
    attack,
    joined,
    signs_of_masking,
)
from clearsight.robust.attacks import Labels
from clearsight.robust.certificate import Certificate, certify_all
from clearsight.robust.distortion import SEVERITIES
from clearsight.robust.plan import Piece, Plan, View
from clearsight.robust.robustness import (
    AttackFindings,
    ClassFailure,
    Example,
    Mean,
    Rate,
    Rates,
    Robustness,
)

AHEAD = 2
ENOUGH_RIGHT = 5
"""Right clean pictures that a class needs before it is said to fail."""


def stress(
    predictor: Predictor, pieces: Iterable[Piece], count: int, plan: Plan, progress: Progress
) -> Robustness:
    """Measure what a plan says.

    Args:
        predictor: an opened recognizer with one label a picture.
        pieces: the pictures; each piece is looked at in every view before the next is asked for.
        count: how many pictures there are at most, to say how much is left.
        plan: what to measure.
        progress: told of every picture of every view, and of attacks and certificates.

    Raises:
        UsageError: a multi-label recognizer, or an epsilon that is no change.
        DataError: there is no picture.
    """
    if predictor.task == "multi-label":
        raise UsageError(
            "stress measures recognizers that give one class a picture; this one is multi-label. "
            "Use 'clearsight evaluate' for its figures."
        )
    if not 0 < plan.epsilon <= 1:
        raise UsageError(f"epsilon must be above 0 and at most 1; got {plan.epsilon}.")
    began = time.monotonic()
    answers = _Answers(plan.views)
    attacked: list[Attacked] = []
    certificates = _Certifying(predictor, plan)
    hit: list[Piece] = []
    progress.start("stress", plan.work(count), "images")
    for piece in pieces:
        answers.add(predictor, piece, plan, progress)
        left = plan.attack_limit - sum(len(done.labels) for done in hit)
        if plan.attacks and left > 0:
            part = Piece(piece.images[:left], piece.labels[:left], piece.places[:left])
            attacked.append(_attack(predictor, part, plan, progress))
            hit.append(part)
        certificates.add(piece, progress)
    progress.finish()
    if not answers.truth:
        raise DataError("There is no picture to measure. Run 'clearsight check' on the data.")
    examples = answers.examples(predictor.classes)
    findings = None
    if attacked:
        found = joined(attacked)
        findings = _findings(found, plan)
        examples += _attack_examples(found, hit, predictor.classes)
    return answers.robustness(
        predictor.classes, plan, findings, certificates.total(), examples, began
    )


class _Answers:
    """What the recognizer said of every picture in every view."""

    def __init__(self, views: Sequence[View]) -> None:
        self.views = views
        self.truth: list[Labels] = []
        self.clean: list[Labels] = []
        self.under: dict[View, list[Labels]] = {view: [] for view in views}
        self._lost: dict[str, tuple[int, int, int, int, ImagesNHWC]] = {}

    def add(self, predictor: Predictor, piece: Piece, plan: Plan, progress: Progress) -> None:
        """Look at one piece in every view."""
        clean = predictor.logits(piece.images).argmax(axis=1)
        progress.advance(len(piece.labels))
        number = len(self.truth)
        self.truth.append(piece.labels)
        self.clean.append(clean)
        for view, images in _changed(piece.images, self.views, plan.seed, number):
            said = predictor.logits(images).argmax(axis=1)
            self.under[view].append(said)
            self._keep_example(view, piece, images, clean, said)
            progress.advance(len(piece.labels), f"{view.kind} {view.severity}")

    def _keep_example(
        self, view: View, piece: Piece, images: ImagesNHWC, clean: Labels, said: Labels
    ) -> None:
        """Keep a picture that was lost at a lower severity than any before of this kind."""
        lost = np.flatnonzero((clean == piece.labels) & (said != piece.labels))
        known = self._lost.get(view.kind)
        if len(lost) and (known is None or view.severity < known[0]):
            row = int(lost[len(lost) // 2])
            pair = np.stack([piece.images[row], images[row]])
            place, truth = int(piece.places[row]), int(piece.labels[row])
            self._lost[view.kind] = (view.severity, place, truth, int(said[row]), pair)

    def examples(self, classes: Sequence[str]) -> list[Example]:
        """Return one lost picture a kind."""
        return [
            Example(kind, severity, place, classes[truth], classes[said], pair[0], pair[1])
            for kind, (severity, place, truth, said, pair) in sorted(self._lost.items())
        ]

    def robustness(
        self,
        classes: Sequence[str],
        plan: Plan,
        attacks: AttackFindings | None,
        certificate: Certificate | None,
        examples: list[Example],
        began: float,
    ) -> Robustness:
        """Return everything that was found."""
        truth, clean = np.concatenate(self.truth), np.concatenate(self.clean)
        said = {view: np.concatenate(parts) for view, parts in self.under.items()}
        published = [view for view in self.views if view.distortion.group == "published"]
        errors = [said[view] != truth for view in published]
        mean_error = np.mean(errors, axis=0) if errors else None
        return Robustness(
            classes=tuple(classes),
            n=len(truth),
            clean=Rate(int((clean == truth).sum()), len(truth)),
            corruptions=_rates(said, truth, "corruptions"),
            deformations=_rates(said, truth, "deformations"),
            mce=None if mean_error is None else Mean.of(mean_error),
            relative_mce=None if mean_error is None else Mean.of(mean_error - (clean != truth)),
            mce_kinds=len({view.kind for view in published}),
            attacks=attacks,
            certificate=certificate,
            failures=_failures(classes, truth, clean, said),
            examples=tuple(examples),
            left_out=plan.left_out,
            seconds=time.monotonic() - began,
        )


def _changed(
    images: ImagesNHWC, views: Sequence[View], seed: int, number: int
) -> Iterator[tuple[View, ImagesNHWC]]:
    """Yield every view of a piece; the next ones are made while one is looked at."""
    waiting: deque[tuple[View, Future[ImagesNHWC]]] = deque()
    with ThreadPoolExecutor(AHEAD, "stress") as pool:
        try:
            for view in views:
                own = derive_seed(seed, view.suite, view.kind, view.severity, number)
                made = pool.submit(view.distortion, images, view.severity, own)
                waiting.append((view, made))
                if len(waiting) > AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _rates(said: dict[View, Labels], truth: Labels, suite: str) -> Rates:
    rates: Rates = {}
    for view, answers in said.items():
        if view.suite == suite:
            right = int((answers == truth).sum())
            rates.setdefault(view.kind, {})[view.severity] = Rate(right, len(truth))
    return rates


def _failures(
    classes: Sequence[str], truth: Labels, clean: Labels, said: dict[View, Labels]
) -> tuple[ClassFailure, ...]:
    """Return every class, the first to fail first."""
    size = len(classes)
    support = np.bincount(truth, minlength=size)
    before = np.bincount(truth[clean == truth], minlength=size)
    first: list[dict[str, int]] = [{} for _ in classes]
    for view in sorted(said, key=lambda view: view.severity):
        right = np.bincount(truth[said[view] == truth], minlength=size)
        for column in np.flatnonzero((2 * right < before) & (before >= ENOUGH_RIGHT)):
            first[column].setdefault(view.kind, view.severity)
    found = [
        ClassFailure(
            name=name,
            n=int(support[column]),
            right=int(before[column]),
            severity=min(first[column].values(), default=None),
            kinds=first[column],
            judged=bool(before[column] >= ENOUGH_RIGHT),
        )
        for column, name in enumerate(classes)
    ]
    late = SEVERITIES[-1] + 1
    return tuple(
        sorted(found, key=lambda one: (not one.judged, one.severity or late, -len(one.kinds)))
    )


def _attack(predictor: Predictor, part: Piece, plan: Plan, progress: Progress) -> Attacked:
    model = Rounded(predictor) if plan.model is None else plan.model
    radius = 255 * plan.epsilon
    if plan.model is None:  # whole grey levels stay within the ball when rounded
        radius = max(1.0, float(np.floor(radius + 1e-6)))
    seed = derive_seed(plan.seed, "attack", int(part.places[0]))
    found = attack(model, part.images, part.labels, plan.attacks, radius, seed)
    progress.advance(len(part.labels) * len(plan.attacks), "attacks")
    return found


def _findings(found: Attacked, plan: Plan) -> AttackFindings:
    n = len(found.clean)
    rates = {key: Rate(int(right.sum()), n) for key, right in found.right.items()}
    rates[ENSEMBLE] = Rate(int(found.ensemble.sum()), n)
    clean = Rate(int(found.clean.sum()), n)
    signs = tuple(signs_of_masking(found))
    return AttackFindings(rates, clean, plan.epsilon, plan.black_box, signs)


def _attack_examples(
    found: Attacked, hit: Sequence[Piece], classes: Sequence[str]
) -> list[Example]:
    images = np.concatenate([part.images for part in hit])
    labels = np.concatenate([part.labels for part in hit])
    places = [place for part in hit for place in part.places]
    return [
        Example(
            kind=key,
            severity=None,
            place=int(places[row]),
            truth=classes[int(labels[row])],
            predicted=classes[taken],
            before=images[row],
            after=np.rint(pixels).astype(np.uint8),
        )
        for key, (row, pixels, taken) in found.changed.items()
    ]


class _Certifying:
    """Certifies the first pictures, piece by piece."""

    def __init__(self, predictor: Predictor, plan: Plan) -> None:
        self._predictor, self._plan = predictor, plan
        self._found: list[Certificate] = []

    def add(self, piece: Piece, progress: Progress) -> None:
        """Certify pictures of a piece until enough are."""
        plan = self._plan
        left = plan.certify_limit - sum(one.n for one in self._found)
        if plan.sigma is None or left <= 0:
            return
        seed = derive_seed(plan.seed, "certify", int(piece.places[0])) >> 1
        self._found.append(
            certify_all(
                self._predictor.logits,
                piece.images[:left],
                piece.labels[:left],
                plan.sigma,
                seed,
                plan.votes,
            )
        )
        progress.advance(self._found[-1].n, "certificates")

    def total(self) -> Certificate | None:
        """Return all of it as one; None where nothing was asked for."""
        if not self._found:
            return None
        first = self._found[0]
        return Certificate(
            sigma=first.sigma,
            votes=first.votes,
            n=sum(one.n for one in self._found),
            right=sum(one.right for one in self._found),
            abstained=sum(one.abstained for one in self._found),
            at_radius={
                radius: sum(one.at_radius[radius] for one in self._found)
                for radius in first.at_radius
            },
        )
