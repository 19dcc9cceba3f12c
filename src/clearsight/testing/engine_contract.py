"""What every engine must do, whatever library it wraps."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import pytest

from clearsight.core.errors import BundleError, UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.session import ENGINES, Compute, Engine, Outputs, Session
from clearsight.testing.contract import Contract
from clearsight.testing.small_network import OUTPUTS, SmallNetwork, noise_images

SAME = 1e-5
HALF = 0.2
"""How far scores of about 5 may be off when they are computed with 8 bits of precision."""
WORKERS = 8
Change = Callable[["_Spoilt", ImagesNHWC, Outputs], Outputs]


class EngineContract(Contract):
    """Clauses every engine satisfies; an implementation is the Engine class."""

    registry = ENGINES

    def check_reproduces_golden_scores(self, implementation: type[Engine]) -> None:
        """The scores are those worked out in NumPy, for one, two and many pictures."""
        session = _open(implementation)
        for n in (1, 2, 150):
            images = noise_images(n)
            wanted = SmallNetwork().outputs(images)
            for name, got in session.run(images, OUTPUTS).items():
                assert got.dtype == np.float32
                np.testing.assert_allclose(got, wanted[name], atol=1e-4)

    def check_batch_of_n_is_n_of_one(self, implementation: type[Engine]) -> None:
        """A picture's scores do not depend on its neighbours or the number of threads."""
        images = noise_images(150)
        one = _open(implementation)
        singly = np.concatenate([_logits(one, images[i : i + 1]) for i in range(len(images))])
        for threads in (1, 2):
            together = _logits(_open(implementation, threads=threads), images)
            np.testing.assert_allclose(together, singly, atol=SAME)

    def check_is_deterministic(self, implementation: type[Engine]) -> None:
        """Opened twice and run twice gives the same bits."""
        images = noise_images(70)
        runs = [_logits(_open(implementation), images) for _ in range(2)]
        session = _open(implementation)
        runs += [_logits(session, images) for _ in range(2)]
        for run in runs[1:]:
            np.testing.assert_array_equal(run, runs[0])

    def check_is_thread_safe(self, implementation: type[Engine]) -> None:
        """Eight threads at once get their own answers, and results stay what they were."""
        session = _open(implementation, threads=2)
        tasks = [noise_images(1 + seed % 3 * 64, seed) for seed in range(64)]
        with ThreadPoolExecutor(WORKERS) as pool:
            got = list(pool.map(lambda images: _logits(session, images), tasks))
        for images, scores in zip(tasks, got, strict=True):
            np.testing.assert_allclose(scores, SmallNetwork().logits(images), atol=1e-4)

    def check_gives_what_was_asked(self, implementation: type[Engine]) -> None:
        """Exactly the outputs asked for come back; unknown ones are refused."""
        session = _open(implementation)
        images = noise_images(2)
        assert set(session.outputs) == set(OUTPUTS)
        for names in (("logits",), ("features",), ("embedding", "logits"), OUTPUTS):
            assert set(session.run(images, names)) == set(names)
        unknown: list[tuple[str, ...]] = [("logit",), ()]
        for wrong in unknown:
            with pytest.raises(UsageError):
                session.run(images, wrong)

    def check_refuses_wrong_pictures(self, implementation: type[Engine]) -> None:
        """Another dtype, size or number of axes, and no pictures at all, are UsageErrors."""
        session = _open(implementation)
        good = noise_images(2)
        floats: Any = good.astype(np.float32)
        for wrong in (floats, good[0], good[:, :4], good[..., :1], good[:0]):
            with pytest.raises(UsageError):
                session.run(wrong)

    def check_refuses_bad_models(self, implementation: type[Engine]) -> None:
        """Garbage, custom operators, external data and other inputs are BundleErrors."""
        for name, model in bad_models().items():
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said):
                    implementation().open(model, 1)
            except BundleError:
                assert not said.getvalue(), f"{name} was reported on stdout as well"
                continue
            raise AssertionError(f"{name} was opened")

    def check_leaves_its_input_alone(self, implementation: type[Engine]) -> None:
        """Pictures are not modified, may be read-only, strided or mapped from a file."""
        session = _open(implementation)
        for n in (1, 3, 130):
            images = noise_images(n)
            before = images.copy()
            scores = _logits(session, images)
            np.testing.assert_array_equal(images, before)
            images.flags.writeable = False
            np.testing.assert_array_equal(_logits(session, images), scores)
            turned = _logits(session, np.asfortranarray(images))
            np.testing.assert_array_equal(turned, scores)

    def check_takes_every_compute(self, implementation: type[Engine]) -> None:
        """Asked to compute in 16 bits it gives the same scores up to their rounding."""
        images = noise_images(20)
        wanted = SmallNetwork().logits(images)
        for compute in get_args(Compute):
            session = implementation().open(SmallNetwork().onnx_model(), 1, compute)
            np.testing.assert_allclose(_logits(session, images), wanted, atol=HALF)

    def check_results_are_kept(self, implementation: type[Engine]) -> None:
        """A result does not change when the next picture is run."""
        session = _open(implementation)
        first = _logits(session, noise_images(1))
        kept = first.copy()
        _logits(session, noise_images(1, seed=5))
        np.testing.assert_array_equal(first, kept)

    def check_shows_nan(self, implementation: type[Engine]) -> None:
        """NaN of a broken model comes out as NaN, so that no label is made from it."""
        session = implementation().open(SmallNetwork(bias=float("nan")).onnx_model(), 1)
        for n in (1, 3):
            assert np.isnan(_logits(session, noise_images(n))).all()

    def broken(self) -> dict[str, Any]:
        """One planted violation a clause."""
        return {
            "check_reproduces_golden_scores": _spoilt(lambda s, x, y: _times(y, 1.01)),
            "check_batch_of_n_is_n_of_one": _spoilt(lambda s, x, y: _plus(y, len(x) * 1e-3)),
            "check_is_deterministic": _spoilt(lambda s, x, y: _plus(y, s.calls * 1e-3)),
            "check_is_thread_safe": _spoilt(_answers_of_others),
            "check_gives_what_was_asked": _spoilt(lambda s, x, y: {**y, "more": x * 1.0}),
            "check_refuses_wrong_pictures": _Unchecked,
            "check_refuses_bad_models": _Unchecked,
            "check_leaves_its_input_alone": _spoilt(_writes_to_input),
            "check_results_are_kept": _spoilt(_one_buffer),
            "check_takes_every_compute": _spoilt(lambda s, x, y: _plus(y, 1.0)),
            "check_shows_nan": _spoilt(lambda s, x, y: {k: np.nan_to_num(v) for k, v in y.items()}),
        }


def bad_models() -> dict[str, bytes]:
    """Return models that no engine may open, by what is wrong with them."""
    from onnx import TensorProto

    network = SmallNetwork()
    good = network.onnx_model()

    def external(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../../../etc/hostname"

    def custom(model: Any) -> None:
        model.graph.node[3].domain = "com.example"
        model.opset_import.add(domain="com.example", version=1)

    def unknown(model: Any) -> None:
        model.graph.node[3].op_type = "NoSuchOperator"

    def floats(model: Any) -> None:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT

    def fixed_batch(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4

    def two_inputs(model: Any) -> None:
        model.graph.input.add().CopyFrom(model.graph.input[0])
        model.graph.input[1].name = "more"

    def absurd(model: Any) -> None:
        model.graph.initializer[0].dims[0] = 1 << 40

    changes = [external, custom, unknown, floats, fixed_batch, two_inputs, absurd]
    return {
        "an empty file": b"",
        "garbage": bytes(range(256)) * 16,
        "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
        "a truncated file": good[: len(good) // 2],
        "a length beyond the end": good + b"\x3a\xff\xff\xff\xff\x0f",
        **{change.__name__: network.onnx_model(change) for change in changes},
    }


def _open(implementation: type[Engine], threads: int = 1) -> Session:
    return implementation().open(SmallNetwork().onnx_model(), threads)


def _logits(session: Session, images: ImagesNHWC) -> Any:
    return session.run(images)["logits"]


class _Spoilt:
    """A Session that does to the right answers what `change` does."""

    def __init__(self, session: Session, change: Change) -> None:
        self.session, self.change = session, change
        self.engine, self.outputs = session.engine, session.outputs
        self.calls = 0
        self.memory: dict[str, Any] = {}

    def run(self, images_nhwc: ImagesNHWC, outputs: Sequence[str] = ("logits",)) -> Outputs:
        self.calls += 1
        return self.change(self, images_nhwc, self.session.run(images_nhwc, outputs))


def _spoilt(change: Change) -> Any:
    class Spoilt:
        def open(self, model: bytes, threads: int, compute: Compute = "fp32") -> Session:
            return _Spoilt(ENGINES.load("onnxruntime")().open(model, threads), change)

    return Spoilt


class _Unchecked:
    """An engine that opens anything and answers anything."""

    def open(self, model: bytes, threads: int, compute: Compute = "fp32") -> Any:
        class Anything:
            engine, outputs = "anything", OUTPUTS

            def run(self, images: ImagesNHWC, outputs: Sequence[str] = ("logits",)) -> Outputs:
                return {name: np.zeros((len(images), 4), dtype=np.float32) for name in outputs}

        return Anything()


def _times(values: Outputs, factor: float) -> Outputs:
    return {name: value * np.float32(factor) for name, value in values.items()}


def _plus(values: Outputs, amount: float) -> Outputs:
    return {name: value + np.float32(amount) for name, value in values.items()}


def _answers_of_others(session: _Spoilt, images: ImagesNHWC, values: Outputs) -> Outputs:
    before = session.memory.get("last", values)
    session.memory["last"] = values
    same = before["logits"].shape == values["logits"].shape
    return before if same else values


def _writes_to_input(session: _Spoilt, images: ImagesNHWC, values: Outputs) -> Outputs:
    images[:] = 0
    return values


def _one_buffer(session: _Spoilt, images: ImagesNHWC, values: Outputs) -> Outputs:
    buffer = session.memory.setdefault("buffer", values["logits"])
    if buffer.shape == values["logits"].shape:
        buffer[:] = values["logits"]
        return {"logits": buffer}
    return values
