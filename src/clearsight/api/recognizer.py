"""An opened recognizer, and training that ends with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearsight.api.scoring import evaluate_run
from clearsight.api.stressing import stress
from clearsight.api.training import train_run, train_settings
from clearsight.core.nouns import Prediction
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.api.explaining import PictureExplanation
    from clearsight.core.bundle import Manifest
    from clearsight.evaluate.evaluation import Evaluation
    from clearsight.explain.subject import Subject
    from clearsight.robust.robustness import Robustness


class Recognizer:
    """An opened recognizer. Thread-safe.

    Args:
        path: the RUN or Bundle folder.
        engine: "openvino", "onnxruntime" or None for the best there is.

    Raises:
        BundleError: changed, incomplete or unusable.

    Example:
        >>> recognizer = load("runs/1")  # doctest: +SKIP
        >>> recognizer.predict("photo.jpg").label  # doctest: +SKIP
        'cat'
    """

    def __init__(self, path: str | Path, engine: str | None = None) -> None:
        from clearsight.engines.open import open_predictor

        self.path = Path(path)
        self._engine = engine
        self._predictor = open_predictor(self.path, engine)
        self._subject: Subject | None = None

    @property
    def manifest(self) -> Manifest:
        """What the Bundle says of itself."""
        return self._predictor.manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return tuple(self._predictor.classes)

    def predict(self, image: str | Path | bytes, top: int = 5) -> Prediction:
        """Recognize one picture.

        Args:
            image: a path, or the encoded bytes of a picture.
            top: how many labels to return.

        Raises:
            ImageError: not a usable picture.
        """
        from clearsight.data.source import read_file

        encoded = image if isinstance(image, bytes) else read_file(image)
        return self._predictor.recognize(encoded, top)

    def evaluate(self, data: str | Path | None = None) -> Evaluation:
        """Score on `data`, or on the test part of what it was trained on; writes the report."""
        target = None if data is None else Path(data)
        return evaluate_run(self.path, target, None, engine=self._engine)[0]

    def explain(
        self,
        image: str | Path | bytes,
        method: str = "auto",
        label: str | None = None,
        against: str | None = None,
        **options: Any,
    ) -> PictureExplanation:
        """Say which part of a picture speaks for a label, and whether that is true.

        Args:
            image: a path, or the encoded bytes of a picture.
            method: key of an explainer, or "auto".
            label: the class to explain; None takes the picture's best.
            against: the class to compare it with; "next" takes the best other one.
            options: of the method.

        Raises:
            ImageError: not a usable picture.
            UsageError: a method, class or option that does not fit.

        Example:
            >>> found = load("runs/1").explain("photo.jpg")  # doctest: +SKIP
            >>> found.told["faithful"], found.told["peak"]  # doctest: +SKIP
            (True, [120, 84])
        """
        from clearsight.api.explaining import Asked, RecognizerExplainer
        from clearsight.data.source import read_file

        encoded = image if isinstance(image, bytes) else read_file(image)
        asked = Asked(method, label, against, options)
        explainer = RecognizerExplainer(self._predictor, asked, self._subject)
        self._subject = explainer.subject  # keeps gradients open for the next call
        return explainer.explain(encoded, "" if isinstance(image, bytes) else str(image))

    def stress(
        self, data: str | Path | None = None, out: str | Path | None = None, **options: Any
    ) -> Robustness:
        """Measure what breaks it, and write the robustness card.

        Args:
            data: labelled pictures; None takes the test part of what it was trained on.
            out: the card; None writes RUN/robustness.html.
            options: suite, limit, kinds and so on, see `stress` in this package.

        Raises:
            UsageError, DataError: see `stress`.

        Example:
            >>> found = load("runs/1").stress(suite="corruptions")  # doctest: +SKIP
            >>> found.corruptions["fog"][3].accuracy, found.mce  # doctest: +SKIP
            (0.71, Mean(value=0.34, low=0.32, high=0.36, n=1000))
        """
        return stress(self.path, data, out=out, engine=self._engine, **options)


def load(path: str | Path, engine: str | None = None) -> Recognizer:
    """Open a recognizer from a RUN or Bundle folder; see `Recognizer`."""
    return Recognizer(path, engine)


def train(
    data: str | Path,
    *,
    out: str | Path,
    time: str | None = None,
    epochs: float | None = None,
    model: str | None = None,
    seed: int | None = None,
    harden: str | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
) -> Recognizer:
    """Train a recognizer from a folder of labelled images and open it.

    Args:
        data: what to learn from; see the README for the layouts.
        out: a new folder for the run.
        time: wall clock until the Bundle is on disk, for example "10m" (the default).
        epochs: passes over the training pictures.
        model: "auto", a family, or a timm model name.
        seed: same seed, same split (and, with `epochs`, same weights on CPU).
        harden: train to hold when pictures are changed ("noise", "augmix", "prime") or attacked
            ("fast", "pgd", "trades"); what that costs on clean pictures is measured.
        config: a TOML or JSON settings file.
        settings: single settings, for example ["split.val=0.2"].
        resume: continue the unfinished run in `out`.
        progress: where to report; None is silent.

    Raises:
        DataError, UsageError, GateError: see `learn.train.train`.
    """
    resolved = train_settings(
        config=None if config is None else Path(config),
        settings=settings,
        time=time,
        epochs=epochs,
        model=model,
        seed=seed,
        harden=harden,
    )
    result = train_run(Path(data), Path(out), resolved, progress or Silent(), None, resume)
    return Recognizer(result.run)
