"""The way in: open a model or a Bundle with the best engine that is here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clearsight.core.bundle import MODEL, Bundle, open_bundle
from clearsight.core.errors import BundleError, MissingExtraError, UsageError
from clearsight.engines.predictor import BundlePredictor
from clearsight.engines.session import ENGINES, Session, cores

FASTEST = ("openvino", "onnxruntime")
QUICKEST_START = ("onnxruntime", "openvino")
FEW_IMAGES = 300


@dataclass(frozen=True)
class EngineState:
    """Whether one engine can be used here.

    Args:
        engine: its key.
        usable: it can be imported.
        detail: why not and what to do; empty when usable.
    """

    engine: str
    usable: bool
    detail: str


def open_session(
    model: bytes,
    engine: str | None = None,
    threads: int | None = None,
    expected_images: int | None = None,
) -> Session:
    """Open an ONNX model.

    Args:
        model: the file's bytes; uint8 NHWC pictures in.
        engine: a key of `ENGINES`; None takes OpenVINO where it is installed and compiles the
            model, else ONNX Runtime (`session.engine` says which).
        threads: how many CPU threads share the pictures of one call; None uses every core. A
            service whose workers fill the cores by themselves gives 1.
        expected_images: how many pictures will be run, if known; for few, the engine that
            starts quickest is taken (OpenVINO needs 0.7 s longer to start).

    Raises:
        BundleError: no engine here runs the model, or it is not safe to load.
        UnknownKeyError: no such engine.
        MissingExtraError: the engine's package is not installed.
    """
    threads = cores() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads must be 1 or more; got {threads}.")
    if engine is not None:
        return _open(engine, model, threads)
    few = expected_images is not None and expected_images <= FEW_IMAGES
    refusals = []
    for key in QUICKEST_START if few else FASTEST:
        try:
            return _open(key, model, threads)
        except (BundleError, MissingExtraError) as error:
            refusals.append(error)
    raise next((e for e in refusals if isinstance(e, BundleError)), refusals[0])


def open_predictor(
    source: Path | Bundle,
    engine: str | None = None,
    threads: int | None = None,
    expected_images: int | None = None,
) -> BundlePredictor:
    """Verify and open a Bundle.

    Args:
        source: a Bundle, its directory, or the RUN directory that holds it.
        engine, threads, expected_images: see `open_session`.

    Raises:
        BundleError: changed, incomplete, unknown or unusable.
    """
    bundle = source if isinstance(source, Bundle) else open_bundle(Path(source))
    session = open_session(bundle.read(MODEL), engine, threads, expected_images)
    return BundlePredictor(bundle, session)


def capabilities() -> list[EngineState]:
    """Say of every engine whether it can be used here, and why not."""
    keys = ENGINES.keys()
    return [_state(key) for key in keys]


def _state(key: str) -> EngineState:
    try:
        ENGINES.load(key)
    except MissingExtraError as error:
        return EngineState(key, False, str(error))
    return EngineState(key, True, "")


def _open(key: str, model: bytes, threads: int) -> Session:
    session: Session = ENGINES.load(key)().open(model, threads)
    return session
