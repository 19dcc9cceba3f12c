from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clearsight.core.bundle import MODEL, Bundle
from clearsight.core.errors import BundleError, MissingExtraError, UnknownKeyError, UsageError
from clearsight.engines import open as opening
from clearsight.engines.open import (
    FEW_IMAGES,
    capabilities,
    compute_of,
    open_predictor,
    open_session,
)
from clearsight.engines.session import ENGINES, ModelSession, cores
from clearsight.testing.small_network import SmallNetwork, noise_images

MakeBundle = Callable[..., Bundle]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a package look as if it were not installed."""
    real = builtins.__import__

    def remove(package: str) -> None:
        def fake(name: str, *args: Any, **named: Any) -> Any:
            if name.split(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)
            return real(name, *args, **named)

        monkeypatch.setattr(builtins, "__import__", fake)
        monkeypatch.delitem(sys.modules, f"clearsight.engines.{package}", raising=False)

    return remove


def test_the_keys_are_the_engines() -> None:
    assert ENGINES.keys() == ["onnxruntime", "openvino"]


@pytest.mark.parametrize("engine", ENGINES.keys())
def test_asked_for(engine: str) -> None:
    session = open_session(SmallNetwork().onnx_model(), engine)
    assert session.engine == engine
    images = noise_images(3)
    wanted = SmallNetwork().logits(images)
    np.testing.assert_allclose(session.run(images)["logits"], wanted, atol=1e-4)


def test_openvino_by_default_and_the_quick_starter_for_few() -> None:
    model = SmallNetwork().onnx_model()
    assert open_session(model).engine == "openvino"
    assert open_session(model, expected_images=FEW_IMAGES).engine == "onnxruntime"
    assert open_session(model, expected_images=FEW_IMAGES + 1).engine == "openvino"


def test_falls_back_where_openvino_is_not_installed(without: Callable[[str], None]) -> None:
    without("openvino")
    assert open_session(SmallNetwork().onnx_model()).engine == "onnxruntime"
    with pytest.raises(MissingExtraError, match="'openvino'"):
        open_session(SmallNetwork().onnx_model(), "openvino")
    states = {state.engine: state for state in capabilities()}
    assert states["onnxruntime"].usable
    assert not states["openvino"].usable
    assert "pip install" in states["openvino"].detail


def test_falls_back_where_openvino_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ENGINES.load("onnxruntime")

    class Refusing:
        def open(self, model: bytes, threads: int) -> Any:
            raise BundleError("cannot compile")

    engines = {"openvino": Refusing, "onnxruntime": real}
    monkeypatch.setattr(opening, "ENGINES", type("Fake", (), {"load": engines.__getitem__}))
    assert open_session(SmallNetwork().onnx_model()).engine == "onnxruntime"


def test_every_engine_refuses() -> None:
    with pytest.raises(BundleError, match="not a readable ONNX file"):
        open_session(b"garbage")


def test_usage() -> None:
    with pytest.raises(UnknownKeyError, match="Did you mean 'openvino'"):
        open_session(b"", "openvin")
    with pytest.raises(UsageError, match="threads"):
        open_session(b"", threads=0)
    with pytest.raises(UnknownKeyError):
        open_session(b"", "golden")  # a file of the room, but no engine
    assert cores() >= 1


def test_outputs_are_compiled_once_and_only_when_asked_for() -> None:
    compiled: list[tuple[str, ...]] = []

    def compile_model(model: bytes, names: Any) -> Any:
        compiled.append(names)
        return lambda images: [np.zeros((len(images), 4), dtype=np.float32) for _ in names]

    session = ModelSession("counting", SmallNetwork().onnx_model(), compile_model)
    assert compiled == [("logits",)]
    threads = [
        threading.Thread(target=session.run, args=(noise_images(1), ("features", "logits")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.run(noise_images(2), ("logits", "features", "logits"))
    assert compiled == [("logits",), ("features", "logits")]


def test_an_engine_that_loses_pictures_is_found_out() -> None:
    session = ModelSession(
        "losing",
        SmallNetwork().onnx_model(),
        lambda model, names: lambda images: [np.zeros((1, 4))],
    )
    with pytest.raises(BundleError, match="first axis must be the batch"):
        session.run(noise_images(2))


def test_an_engine_that_fails_is_typed() -> None:
    def fail(images: Any) -> Any:
        raise RuntimeError("out of memory")

    session = ModelSession("failing", SmallNetwork().onnx_model(), lambda model, names: fail)
    with pytest.raises(BundleError, match="failing failed to run the model: out of memory"):
        session.run(noise_images(1))


def test_open_predictor_takes_a_path_a_run_and_a_bundle(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    images = noise_images(2)
    scores = [
        open_predictor(source, "onnxruntime").logits(images)
        for source in (bundle, bundle.path, str(bundle.path))
    ]
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])


def test_a_changed_bundle_is_refused(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    content = bytearray((bundle.path / MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle.path / MODEL).write_bytes(content)
    for source in (bundle, bundle.path):
        with pytest.raises(BundleError, match="not what was written"):
            open_predictor(source)


def test_a_model_without_the_promised_output_is_refused(make_bundle: MakeBundle) -> None:
    bundle = make_bundle(outputs=("logits", "gradients"))
    with pytest.raises(BundleError, match="no output 'gradients'"):
        open_predictor(bundle)


def test_what_int8_leaves_in_floating_point_is_computed_in_16_bits() -> None:
    assert [compute_of(made_of) for made_of in ("int8", "fp16", "bf16")] == ["bf16", "fp16", "bf16"]
