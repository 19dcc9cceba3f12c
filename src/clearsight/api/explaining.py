"""Explanations of a RUN's or a Bundle's answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clearsight.core.errors import ImageError, UsageError, nearest

if TYPE_CHECKING:
    from clearsight.core.nouns import ImageHWC, ImagesNHWC
    from clearsight.engines.predictor import BundlePredictor
    from clearsight.explain.explain import Explanation
    from clearsight.explain.explainer import Explainer
    from clearsight.explain.heat import Rgba
    from clearsight.explain.subject import Subject
    from clearsight.explain.weights_check import WeightsCheck

CHECKED_BY_SCORES = 2
"""Pictures for the weights check where each costs hundreds of passes."""


@dataclass(frozen=True)
class Asked:
    """What to explain, and how.

    Args:
        method: key of an explainer, or "auto".
        label: the class to explain; None takes each picture's best.
        against: the class to compare it with; "next" takes each picture's best other one.
        options: of the method.
        class_maps: so many held-out pictures a class go into average maps; 0 makes none.
        check_weights: compare maps with those of random weights.
        seed: of the random maps and weights.
    """

    method: str = "auto"
    label: str | None = None
    against: str | None = None
    options: Mapping[str, Any] | None = None
    class_maps: int = 0
    check_weights: bool = True
    seed: int = 0


@dataclass(frozen=True)
class PictureExplanation:
    """One picture's explanation.

    Args:
        path: of the picture; "" where it came as bytes.
        explanation: why.
        told: what programs read.
        picture: (h, w, 3) uint8 as it is shown.
        heat: (h, w, 4) uint8, the map to lie over it.
        size: (height, width) of the picture itself.
    """

    path: str
    explanation: Explanation
    told: dict[str, Any]
    picture: ImageHWC
    heat: Rgba
    size: tuple[int, int]

    def overlay(self, opacity: float = 0.7) -> ImageHWC:
        """Return the picture with the map over it, (h, w, 3) uint8.

        Args:
            opacity: of the map, in [0, 1].
        """
        from clearsight.explain.heat import overlay

        return overlay(self.picture, self.heat, opacity)


class RecognizerExplainer:
    """Explains pictures with one opened Bundle; the method is chosen once.

    Args:
        predictor: the opened Bundle.
        asked: what to explain, and how.
        subject: the same Bundle as an earlier explainer opened it; None opens it.

    Raises:
        UsageError: a method, option or class that there is not, or that does not fit.
    """

    def __init__(
        self, predictor: BundlePredictor, asked: Asked, subject: Subject | None = None
    ) -> None:
        from clearsight.explain.explain import AUTO, choose_method, make_explainer
        from clearsight.explain.explainer import EXPLAINERS
        from clearsight.explain.subject import subject_of

        self.predictor, self.asked = predictor, asked
        self.subject: Subject = subject or subject_of(predictor)
        if asked.method not in (AUTO, *EXPLAINERS.keys()):
            words = [AUTO, *EXPLAINERS.keys()]
            raise UsageError(f"Unknown method {asked.method!r}.{nearest(asked.method, words)}")
        if asked.method == AUTO and asked.options:
            raise UsageError("Options belong to a method. Name one with --method.")
        for name in (asked.label, asked.against):
            if name is not None and name != "next":
                self.class_number(name)
        if asked.against == asked.label and asked.against is not None:
            raise UsageError(f"{asked.label!r} cannot be explained against itself.")
        self.method = asked.method
        if asked.method == AUTO:
            self.method = choose_method(self.subject, _blank(predictor), asked.against is None)
        self.explainer: Explainer = make_explainer(self.method, dict(asked.options or {}))
        self._faithful = True

    def class_number(self, name: str) -> int:
        """Return the number of a class.

        Raises:
            UsageError: the recognizer does not know it.
        """
        classes = list(self.predictor.classes)
        if name not in classes:
            raise UsageError(f"Unknown class {name!r}.{nearest(name, classes)}")
        return classes.index(name)

    def explain(self, encoded: bytes, path: str = "") -> PictureExplanation:
        """Explain one encoded picture.

        Raises:
            ImageError: the bytes are no usable picture.
            UsageError: the method does not fit the recognizer.
        """
        from clearsight.data.decode import decode
        from clearsight.explain.explain import ask, explain
        from clearsight.explain.heat import heat, shown

        image = self.predictor.prepare(encoded)[None]
        picture = decode(encoded)
        question = ask(
            self.class_number,
            self.predictor.probabilities(image),
            self.asked.label,
            self.asked.against,
        )
        found = next(
            explain(
                self.subject,
                self.predictor.probabilities,
                image,
                question,
                self.method,
                self.explainer,
                self.asked.seed,
            )
        )
        if not self._faithful:
            found = replace(found, proof=replace(found.proof, faithful=False))
        size = (picture.shape[0], picture.shape[1])
        told = {"path": path, **found.to_json(self.subject, size)}
        layer = heat(found.map_hw, self.predictor.preprocessing, size)
        return PictureExplanation(path, found, told, shown(picture), layer, size)

    def check_weights(self, encoded: Iterable[bytes]) -> tuple[WeightsCheck | None, str]:
        """Compare maps of a few pictures with those of random weights.

        Where they do not differ, nothing that is explained afterwards counts as faithful.

        Args:
            encoded: pictures; only a few are read.

        Returns:
            The result, or None and why it could not be tried.
        """
        import numpy as np

        from clearsight.explain.explain import ask
        from clearsight.explain.weights_check import PICTURES, check_weights

        if not self.subject.redrawn:
            return None, self.subject.why_not_live
        most = CHECKED_BY_SCORES if self.explainer.needs == "scores" else PICTURES
        images = prepared_pictures(self.predictor, encoded, most)
        if not images:
            return None, "no picture could be read"
        stack = np.stack(images)
        probabilities = self.predictor.probabilities(stack)
        question = ask(self.class_number, probabilities, self.asked.label, self.asked.against)
        check = check_weights(self.explainer, self.subject, stack, question, self.asked.seed)
        self._faithful = check.passed
        return check, ""


def prepared_pictures(
    predictor: BundlePredictor, encoded: Iterable[bytes], most: int
) -> list[ImageHWC]:
    """Return the first few pictures that can be used, prepared."""
    found: list[ImageHWC] = []
    for content in encoded:
        try:
            found.append(predictor.prepare(content))
        except ImageError:
            continue
        if len(found) == most:
            break
    return found


def _blank(predictor: BundlePredictor) -> ImagesNHWC:
    import numpy as np

    p = predictor.preprocessing
    return np.full((1, p.height, p.width, p.channels), 127, np.uint8)
