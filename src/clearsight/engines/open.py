"""The way in: open a model or a Bundle with the best engine that is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearsight.core.bundle import MODEL, Bundle, open_bundle
from clearsight.core.errors import BundleError, MissingExtraError, UnknownKeyError, UsageError
from clearsight.core.variants import Precision
from clearsight.engines.predictor import BundlePredictor, answering_outputs
from clearsight.engines.session import ENGINES, LOGITS, Compute, Engine, Session, cores

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
    compute: Compute = "fp32",
    outputs: Sequence[str] = LOGITS,
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
        compute: what fp32 operators are computed in, see `Engine.open`.
        outputs: what will be asked for together nearly always; that is compiled at once.

    Raises:
        BundleError: no engine here runs the model, or it is not safe to load.
        UnknownKeyError: no such engine.
        MissingExtraError: the engine's package is not installed.
    """
    threads = cores() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads must be 1 or more; got {threads}.")
    if engine is not None:
        return _open(engine, model, threads, compute, outputs)
    few = expected_images is not None and expected_images <= FEW_IMAGES
    refusals = []
    for key in QUICKEST_START if few else FASTEST:
        try:
            return _open(key, model, threads, compute, outputs)
        except (BundleError, MissingExtraError) as error:
            refusals.append(error)
    raise next((e for e in refusals if isinstance(e, BundleError)), refusals[0])


def open_predictor(
    source: Path | Bundle,
    engine: str | None = None,
    threads: int | None = None,
    expected_images: int | None = None,
    variant: str | None = None,
    embed: bool = False,
) -> BundlePredictor:
    """Verify and open a Bundle.

    Args:
        source: a Bundle, its directory, or the RUN directory that holds it.
        engine, threads, expected_images: see `open_session`.
        variant: a key of the manifest's `variants`, on an engine that it passed its gate on; None
            opens the model of full precision.
        embed: feature vectors will be asked for with every answer.

    Raises:
        BundleError: changed, incomplete, unknown or unusable, or a variant that is not for this
            engine.
        UnknownKeyError: no such variant.
    """
    bundle = source if isinstance(source, Bundle) else open_bundle(Path(source))
    outputs = answering_outputs(bundle.manifest, embed)
    if not variant:
        model = bundle.read(MODEL)
        session = open_session(model, engine, threads, expected_images, outputs=outputs)
        return BundlePredictor(bundle, session, embed=embed)
    chosen = bundle.manifest.variants.get(variant)
    if chosen is None:
        raise UnknownKeyError(f"variant of {bundle.path}", variant, bundle.manifest.variants)
    key = _engine_of(bundle, variant, engine)
    compute = compute_of(chosen.precision)
    content = bundle.read(chosen.file)
    session = open_session(content, key, threads, compute=compute, outputs=outputs)
    return BundlePredictor(bundle, session, variant, embed)


def compute_of(precision: Precision) -> Compute:
    """Return what a variant's floating-point operators are computed in.

    Layers that int8 left alone are computed in bf16 where the processor can: with the depthwise
    layers of a mobile network that is a good part of its time.
    """
    return "bf16" if precision == "int8" else precision


def _engine_of(bundle: Bundle, variant: str, wanted: str | None) -> str:
    """Return the engine to open a variant with: the wanted one, else its fastest that is here."""
    measured = bundle.manifest.variants[variant].engines
    if wanted is not None and wanted not in ENGINES.keys():  # noqa: SIM118 - a Registry
        raise UnknownKeyError("engine", wanted, ENGINES.keys())
    usable = {state.engine for state in capabilities() if state.usable} if wanted is None else {}
    fitting = [key for key in measured if key == wanted or key in usable]
    if not fitting:
        raise BundleError(
            f"{bundle.path}: the variant {variant} runs on {', '.join(measured)}; got "
            f"{wanted or 'none of them installed'}. Its gate was not passed elsewhere: use one of "
            "these, or make it again here with 'clearsight optimize'."
        )
    return max(fitting, key=lambda key: measured[key].speed_up)


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


def _open(
    key: str, model: bytes, threads: int, compute: Compute, outputs: Sequence[str]
) -> Session:
    """Open with what differs from the usual only: an engine may not know of it."""
    engine: Engine = ENGINES.load(key)()
    unusual: dict[str, Any] = {} if compute == "fp32" else {"compute": compute}
    unusual |= {} if tuple(outputs) == LOGITS else {"outputs": outputs}
    return engine.open(model, threads, **unusual)
