"""From prepared pictures to explanations that carry their own proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError, UsageError
from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.explain.explainer import EXPLAINERS, Explainer
from clearsight.explain.faithfulness import Faithfulness, Probabilities, faithfulness
from clearsight.explain.place import in_picture, peak
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

AUTO = "auto"
TORCH_FREE = ("scores", "features")
FINEST_MAP = 7
"""Class activation maps with fewer rows are too coarse; other methods are taken then."""


@dataclass(frozen=True)
class Explanation:
    """Why a recognizer gave one picture a label.

    Args:
        label, against: class names; `against` is None unless two were compared.
        score: probability of the label (of a pair, its share of both's).
        method: key of the explainer.
        map_hw: (h, w) float32 at the model's input size, larger is more evidence.
        peak: (y, x) of the strongest evidence, in the model's input.
        proof: deletion and insertion scores.
    """

    label: str
    against: str | None
    score: float
    method: str
    map_hw: NDArray[np.float32]
    peak: tuple[int, int]
    proof: Faithfulness

    def to_json(self, subject: Subject, size: tuple[int, int]) -> dict[str, Any]:
        """Return what programs read.

        Args:
            subject: what was explained.
            size: (height, width) of the picture; the peak is told in its own pixels.
        """
        proof = self.proof
        return {
            "label": self.label,
            **({} if self.against is None else {"against": self.against}),
            "score": self.score,
            "method": self.method,
            "peak": list(in_picture(self.peak, subject.preprocessing, size)),
            "deletion": proof.deletion,
            "insertion": proof.insertion,
            "random_deletion": proof.random_deletion,
            "random_insertion": proof.random_insertion,
            "centre_deletion": proof.centre_deletion,
            "centre_insertion": proof.centre_insertion,
            "faithful": proof.faithful,
        }


def make_explainer(key: str, options: dict[str, Any] | None = None) -> Explainer:
    """Return one method with its options.

    Raises:
        UnknownKeyError: no such method.
        ConfigError: an option it does not have, or a wrong value.
    """
    make = EXPLAINERS.load(key)
    config: type[Config] = make.Config
    try:
        explainer: Explainer = make(config.parse(options or {}))
    except ConfigError as error:
        raise ConfigError(f"Method {key}: {error}") from error
    return explainer


def choose_method(subject: Subject, images_nhwc: ImagesNHWC, torch: bool = True) -> str:
    """Return the key of the method that suits a recognizer.

    Class activation maps cost one pass and are exact where the head is linear. Where there are
    none, or too coarse ones: a transformer's attention, else RISE, which needs only scores.

    Args:
        subject: the recognizer.
        images_nhwc: (n, h, w, c) uint8, one picture at least.
        torch: gradients may be taken.
    """
    one = images_nhwc[:1]
    if subject.evidence is not None:
        seen = subject.evidence(one, Question(np.zeros(1, np.int64)))
        if min(seen.shape[1:]) >= FINEST_MAP:
            return "cam"
    looks = torch and not subject.why_not_live and not subject.live.layers
    if looks and subject.live.attentions(one.astype(np.float32)):
        return "attention-rollout"
    return "rise"


def explain(
    subject: Subject,
    probabilities: Probabilities,
    images_nhwc: ImagesNHWC,
    question: Question,
    method: str,
    explainer: Explainer,
    seed: int = 0,
) -> Iterator[Explanation]:
    """Explain prepared pictures one after another; each map is scored by `faithfulness`.

    Args:
        subject: the recognizer.
        probabilities: of the recognizer, calibrated.
        images_nhwc: (n, h, w, c) uint8.
        question: n questions.
        method: key of the explainer, for the record.
        explainer: the method.
        seed: of the random maps it is compared with.

    Yields:
        One explanation a picture, in order.

    Raises:
        UsageError: the recognizer cannot give what the method needs, or the method cannot
            answer the question.
    """
    if question.against is not None and not explainer.compares:
        raise UsageError(
            f"{method} looks at no class, so it cannot say why one and not another. Use --method "
            "rise, occlusion or integrated-gradients."
        )
    for number in range(len(images_nhwc)):
        image = images_nhwc[number : number + 1]
        asked = question.row(number)
        map_hw = explainer.maps(subject, image, asked)[0]
        if not np.isfinite(map_hw).all():
            raise UsageError(f"{method} gave NaN or infinity. Use --method occlusion or rise.")
        against = None if asked.against is None else subject.classes[int(asked.against[0])]
        yield Explanation(
            label=subject.classes[int(asked.labels[0])],
            against=against,
            score=float(asked.score(probabilities(image))[0]),
            method=method,
            map_hw=map_hw,
            peak=peak(map_hw),
            proof=faithfulness(probabilities, image[0], asked, map_hw, seed),
        )


def ask(
    classes: Callable[[str], int],
    probabilities: Scores,
    label: str | None = None,
    against: str | None = None,
) -> Question:
    """Return the question about some pictures.

    Args:
        classes: number of a class by its name; raises where there is none.
        probabilities: (n, classes) of the pictures.
        label: the class to explain; None takes each picture's best (but for `against`).
        against: the class to compare with; "next" takes each picture's best other one.

    Raises:
        UsageError: a class that the recognizer does not know, or one against itself.
    """
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    own = ranked[:, 0] if label is None else np.full(len(ranked), classes(label))
    if against is None:
        return Question(own.astype(np.int64))
    if against == "next":
        other = np.where(ranked[:, 0] == own, ranked[:, 1], ranked[:, 0])
    else:
        other = np.full(len(ranked), classes(against))
        if label is None:
            own = np.where(own == other, ranked[:, 1], own)
    return Question(own.astype(np.int64), other.astype(np.int64))
