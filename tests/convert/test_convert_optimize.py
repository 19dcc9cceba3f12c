"""A variant is stored when it loses little and pays; else nothing changes, and it says why."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearsight import api
from clearsight.convert import optimize as module
from clearsight.convert.half import bfloat16_bits, with_half_weights
from clearsight.convert.quantize import LADDER, Quantizer
from clearsight.convert.rewrite import add_variant
from clearsight.convert.speed import SpeedUp
from clearsight.core import exchange
from clearsight.core.bundle import MODEL, Bundle, open_bundle, write_bundle
from clearsight.core.errors import (
    BundleError,
    ClearsightError,
    DataError,
    GateError,
    StorageError,
    UnknownKeyError,
    UsageError,
)
from clearsight.core.variants import OnEngine, Variant, allowed_variants
from clearsight.data.source import FileSource
from clearsight.engines.golden import verify_golden
from clearsight.engines.open import open_predictor, open_session
from clearsight.testing.small_network import SmallNetwork, noise_images

Make = Callable[..., Bundle]
OTHER = SmallNetwork().but(classes=(1, 2, 3, 0))
"""A network that answers wrongly: its classes are turned round."""


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are all overhead: say that the variant is twice as fast."""
    found = SpeedUp(((100, 200), (100, 190)))
    monkeypatch.setattr(module, "measure_speed_up", lambda *given: found)


@pytest.fixture
def run(make_bundle: Make) -> Path:
    return make_bundle().path.parent


@pytest.mark.usefixtures("faster")
def test_int8_is_stored_beside_the_model(run: Path, pictures: Path) -> None:
    before = tree(run)
    found = api.optimize(run, pictures, max_drop=5)
    after = tree(run)
    new = {"bundle/model.int8.onnx", "card.md", "card.html"}  # and the cards
    assert set(after) - set(before) == new
    assert {name for name in before if before[name] != after[name]} == {
        "bundle/manifest.json", "bundle/card.md",
    }  # fmt: skip
    manifest = open_bundle(run).manifest
    assert manifest.id != "0123456789abcdef"
    assert found.to_json()["variant"] == "int8"
    for engine, seen in manifest.variants["int8"].engines.items():
        assert seen.drop_low <= seen.drop <= min(5, seen.drop_high)
        assert seen.n > 50
        predictor = open_predictor(run, engine, variant="int8")
        assert verify_golden(predictor) > 0  # another model than the one in fp32
        images = noise_images(200, seed=5)
        same = predictor.logits(images).argmax(1) == SmallNetwork().logits(images).argmax(1)
        assert same.mean() > 0.9
    assert open_predictor(run).variant == ""
    assert verify_golden(open_predictor(run)) < 1e-3
    assert "## Variants" in (run / "bundle" / "card.md").read_text("utf-8")


@pytest.mark.usefixtures("faster")
def test_evaluate_scores_a_variant(run: Path, pictures: Path, tmp_path: Path) -> None:
    api.optimize(run, pictures, precision="fp16")
    evaluation, report = api.evaluate_run(run, pictures, None, variant="fp16")
    assert evaluation.n > 100
    assert evaluation.accuracy > 0.9
    assert report == run / "report-fp16.html"


@pytest.mark.usefixtures("faster")
def test_another_folder_leaves_the_run_alone(run: Path, pictures: Path, tmp_path: Path) -> None:
    before = tree(run)
    found = api.optimize(run, pictures, max_drop=5, out=tmp_path / "small")
    assert tree(run) == before
    assert found.bundle.path == tmp_path / "small"
    assert "int8" in open_bundle(tmp_path / "small").manifest.variants


def test_what_loses_too_much_is_refused_with_its_figures(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: every setting gives a network with its classes turned round."""
    before = tree(run)
    monkeypatch.setattr(Quantizer, "run", lambda self, settings: OTHER.onnx_model())
    with pytest.raises(GateError, match=r"95 % CI .* n \d+.*Nothing was changed") as caught:
        api.optimize(run, pictures)
    assert caught.value.exit_code == 3
    assert str(caught.value).count("points (95") >= 4  # every setting that was tried
    assert tree(run) == before


@pytest.mark.usefixtures("faster")
def test_gentler_settings_are_tried_in_turn(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def spoilt(self: Quantizer, settings: Any) -> bytes:
        tried.append(settings.name)
        return (OTHER if len(tried) < 3 else SmallNetwork()).onnx_model()

    monkeypatch.setattr(Quantizer, "run", spoilt)
    found = api.optimize(run, pictures, max_drop=30)
    without_depthwise = [settings.name for settings in LADDER if settings.keep != "depthwise"]
    assert tried == without_depthwise[:3]
    assert found.variant.made_with["settings"] == tried[-1]


@pytest.mark.usefixtures("faster")
def test_settings_that_cannot_be_made_are_passed_over(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Quantizer, settings: Any) -> bytes:
        if settings is LADDER[0]:
            raise GateError("NNCF cannot quantise this model.")
        return SmallNetwork().onnx_model()

    monkeypatch.setattr(Quantizer, "run", failing)
    found = api.optimize(run, pictures, max_drop=30)
    assert found.variant.made_with["settings"] != LADDER[0].name
    monkeypatch.setattr(Quantizer, "run", lambda self, settings: failing(self, LADDER[0]))
    with pytest.raises(GateError, match="NNCF cannot quantise"):
        api.optimize(run, pictures)


@pytest.mark.usefixtures("faster")
def test_an_engine_on_which_it_loses_too_much_is_left_out(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module._Trial.form

    def spoilt(self: Any, content: bytes, engine: str) -> Any:
        return right(self, OTHER.onnx_model() if engine == "onnxruntime" else content, engine)

    monkeypatch.setattr(module._Trial, "form", spoilt)
    found = api.optimize(run, pictures, precision="fp16", max_drop=5)
    assert set(found.variant.engines) == {"openvino"}
    with pytest.raises(BundleError, match="runs on openvino"):
        open_predictor(run, "onnxruntime", variant="fp16")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_what_does_not_pay_is_stored_only_when_asked_for(
    run: Path, pictures: Path, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower = SpeedUp(((100, 80),))
    monkeypatch.setattr(module, "measure_speed_up", lambda *given: slower)
    before = tree(run)
    with pytest.raises(GateError, match=r"does not pay.*0.80 times.*--keep-slower"):
        api.optimize(run, pictures, precision=precision)
    assert tree(run) == before
    api.optimize(run, pictures, precision=precision, keep_slower=True)
    bundle = open_bundle(run)
    variant = bundle.manifest.variants[precision]
    assert variant.engines["openvino"].speed_up == 0.8
    assert bundle.manifest.files[variant.file].size < bundle.manifest.files[MODEL].size
    images = noise_images(30)
    for engine in variant.engines:
        got = open_predictor(run, engine, variant=precision).logits(images)
        np.testing.assert_allclose(got, SmallNetwork().logits(images), atol=0.1)


@pytest.mark.usefixtures("faster")
def test_several_variants_live_side_by_side(run: Path, pictures: Path) -> None:
    api.optimize(run, pictures, precision="fp16")
    api.optimize(run, pictures, precision="bf16")
    api.optimize(run, pictures, precision="fp16")  # once more: replaced
    assert set(open_bundle(run).manifest.variants) == {"fp16", "bf16"}
    assert (run / "bundle" / "card.md").read_text("utf-8").count("## Variants") == 1
    for key in ("fp16", "bf16"):
        verify_golden(open_predictor(run, variant=key))


# --- which pictures -------------------------------------------------------------------------------


@pytest.mark.usefixtures("faster")
def test_the_test_part_is_never_read(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, seen = tmp_path / "data", set[str]()
    for part, numbers in (("train", (0, 10)), ("val", (10, 20)), ("test", (20, 30))):
        for name in ("ant", "猫", "dog"):  # it never says bee
            (data / part / name).mkdir(parents=True)
            for number in range(*numbers):
                source = pictures / name / f"{number}.png"
                (data / part / name / source.name).write_bytes(source.read_bytes())
    read = FileSource.encoded

    def spied(self: FileSource, name: str) -> bytes:
        seen.add(name.split("/")[0])
        return read(self, name)

    monkeypatch.setattr(FileSource, "encoded", spied)
    api.optimize(run, data, max_drop=5)
    assert seen == {"train", "val"}
    api.evaluate_run(run, data, None)  # the control: evaluate does read it
    assert "test" in seen


def test_a_test_part_alone_is_refused(run: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test").symlink_to(pictures)
    lines = ["path,label,part"]
    lines += [f"{p.parent.name}/{p.name},{p.parent.name},test" for p in pictures.rglob("*.png")]
    (pictures / "test.csv").write_text("\n".join(lines), encoding="utf-8")
    try:
        with pytest.raises(DataError, match="only a test part"):
            api.optimize(run, pictures / "test.csv")
    finally:
        (pictures / "test.csv").unlink()


def test_a_bundle_alone_needs_pictures(run: Path) -> None:
    with pytest.raises(UsageError, match="--data"):
        api.optimize(run / "bundle")


def test_a_model_without_layers_is_refused(tmp_path: Path) -> None:
    from clearsight.testing.tiny_bundle import colour_model

    with pytest.raises(GateError, match="no weights"):
        with_half_weights(colour_model(), "fp16")


def test_bfloat16_rounds_to_the_nearest() -> None:
    values = np.array([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, -3.14159, 1e30, 0.0], np.float32)
    widened = (bfloat16_bits(values).astype(np.uint32) << 16).view(np.float32)
    assert widened[1] == 1.0  # a tie goes to the even one
    assert widened[2] == 1.0 + 2**-6
    np.testing.assert_allclose(widened, values, rtol=2**-8)


# --- opening --------------------------------------------------------------------------------------


def seen(drop: float = 0.1, speed_up: float = 2.0) -> OnEngine:
    return OnEngine(
        drop=drop, drop_low=drop, drop_high=drop, n=100, agreement=1, speed_up=speed_up,
        speed_up_low=speed_up, speed_up_high=speed_up,
    )  # fmt: skip


def variant(tolerance: float = 0.05, **engines: OnEngine) -> Variant:
    return Variant(
        file="model.int8.onnx",
        precision="int8",
        engines=engines or {"openvino": seen(), "onnxruntime": seen()},
        tolerance=tolerance,
        machine="here",
        made_with={},
    )


def stored(bundle: Bundle, network: SmallNetwork, what: Variant) -> Bundle:
    return add_variant(bundle, "int8", what, network.onnx_model(), gate=lambda staged: None)


def test_golden_pictures_find_a_wrong_variant(make_bundle: Make) -> None:
    good = stored(make_bundle(), SmallNetwork(), variant())
    assert verify_golden(open_predictor(good, variant="int8")) < 0.05
    wrong = stored(make_bundle(run="other"), OTHER, variant())
    with pytest.raises(BundleError, match="the variant int8"):
        verify_golden(open_predictor(wrong, variant="int8"))
    near = stored(make_bundle(run="near"), SmallNetwork().but(scale=100.0), variant(1e-6))
    with pytest.raises(BundleError, match="allowed 1e-06"):
        verify_golden(open_predictor(near, variant="int8"))


def test_unknown_variants_name_the_known_ones(make_bundle: Make) -> None:
    bundle = stored(make_bundle(), SmallNetwork(), variant())
    with pytest.raises(UnknownKeyError, match="int8"):
        open_predictor(bundle, variant="int9")
    with pytest.raises(UnknownKeyError, match="openvino"):
        open_predictor(bundle, "openvio", variant="int8")


def test_the_fastest_engine_is_taken(make_bundle: Make) -> None:
    both = {"openvino": seen(speed_up=1.5), "onnxruntime": seen(speed_up=3)}
    bundle = stored(make_bundle(), SmallNetwork(), variant(**both))
    assert open_predictor(bundle, variant="int8").engine == "onnxruntime"
    assert open_predictor(bundle, "openvino", variant="int8").engine == "openvino"


def test_allowed_variants_are_the_fastest_first(make_bundle: Make) -> None:
    slow = variant(openvino=seen(drop=0.0, speed_up=1.1)).model_dump()
    fast = variant(openvino=seen(drop=0.4, speed_up=4), onnxruntime=seen(drop=2)).model_dump()
    manifest = make_bundle().manifest.model_copy(
        update={"variants": {"fp16": Variant.parse(slow), "int8": Variant.parse(fast)}}
    )
    assert allowed_variants(manifest, 0.5) == ["int8", "fp16"]
    assert allowed_variants(manifest, 0.1) == ["fp16"]
    assert allowed_variants(manifest, -1) == []
    assert manifest.variants["int8"].allowed_engines(0.5) == ["openvino"]
    assert manifest.variants["int8"].allowed_engines(5) == ["openvino", "onnxruntime"]


def test_a_changed_variant_is_not_opened(make_bundle: Make) -> None:
    bundle = stored(make_bundle(), SmallNetwork(), variant())
    file = bundle.path / "model.int8.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="hash differs"):
        open_predictor(bundle.path, variant="int8")


def test_compute_in_16_bits_gives_the_same_labels() -> None:
    images = noise_images(40)
    wanted = SmallNetwork().logits(images)
    for engine in ("openvino", "onnxruntime"):
        for compute in ("fp32", "fp16", "bf16"):
            session = open_session(SmallNetwork().onnx_model(), engine, compute=compute)  # type: ignore[arg-type]
            np.testing.assert_allclose(session.run(images)["logits"], wanted, atol=0.2)


# --- in one step ----------------------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch, fail_at: int) -> list[str]:
    """Let the n-th call that changes the disk fail; return the calls so far."""
    calls: list[str] = []

    def failing(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == fail_at:
                raise OSError(28, "No space left on device")
            return call(*given, **named)

        return run

    monkeypatch.setattr(os, "fsync", failing("fsync", os.fsync))
    monkeypatch.setattr(os, "rename", failing("rename", os.rename))
    monkeypatch.setattr(exchange, "_exchange", failing("exchange", exchange._exchange))
    monkeypatch.setattr(Path, "write_bytes", failing("write", Path.write_bytes))
    return calls


def test_every_failing_write_leaves_the_old_or_the_new_bundle(make_bundle: Make) -> None:
    outcomes = set()
    for fail_at in range(1, 60):
        bundle = make_bundle(run=f"run{fail_at}")
        with pytest.MonkeyPatch.context() as patch:
            calls = counted(patch, fail_at)
            try:
                stored(bundle, SmallNetwork(), variant())
                ended = "done"
            except StorageError:
                ended = "failed"
        found = open_bundle(bundle.path)
        verify_golden(open_predictor(found))
        assert [path.name for path in bundle.path.parent.iterdir()] == ["bundle"], "litter"
        outcomes.add((ended, "int8" in found.manifest.variants))
        if len(calls) < fail_at:
            break
    assert ("failed", False) in outcomes
    assert ("done", True) in outcomes
    assert ("done", False) not in outcomes
    assert fail_at > 12, "the calls were not seen"


KILLED = """
import os, sys
from pathlib import Path
from clearsight.convert.rewrite import add_variant
from clearsight.core import exchange
from clearsight.core.bundle import open_bundle, write_bundle
from clearsight.core.variants import OnEngine, Variant
root = Path(sys.argv[1])
bundle = open_bundle(root)
seen = OnEngine(drop=0, drop_low=0, drop_high=0, n=1, agreement=1, speed_up=1, speed_up_low=1,
                speed_up_high=1)
def dying(call, at):
    def run(*given, **named):
        at[0] -= 1
        if at[0] == 0:
            os._exit(9)
        return call(*given, **named)
    return run
def two_steps(one, other):
    os.rename(other, one + b"-old")
    os.rename(one, other)
    os.rename(one + b"-old", one)
if sys.argv[2:]:
    exchange._exchange = two_steps
cut, found = 0, []
while True:
    cut += 1
    child = os.fork()
    if child == 0:
        at = [cut]
        os.fsync, os.rename = dying(os.fsync, at), dying(os.rename, at)
        os.rmdir, os.unlink = dying(os.rmdir, at), dying(os.unlink, at)
        exchange._exchange = dying(exchange._exchange, at)
        variant = Variant(file=f"{cut}.onnx", precision="int8", engines={"openvino": seen},
                          tolerance=0.1, machine="", made_with={})
        add_variant(open_bundle(root), "int8", variant, bytes(cut), gate=lambda staged: None)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    variants = open_bundle(root).manifest.variants
    found.append((code, "int8" in variants and variants["int8"].file == f"{cut}.onnx"))
    if code == 0 or cut > 200:
        break
print(cut, found[0], (9, True) in found, found[-1], (0, False) in found)
print(sorted(path.name for path in (root).iterdir()))
"""


def test_killed_at_every_point_it_is_the_old_or_the_new_bundle(make_bundle: Make) -> None:
    run = make_bundle().path.parent
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(run)], capture_output=True, text=True, check=False
    )
    words, listing = done.stdout.splitlines()
    assert int(words.split()[0]) > 15, done.stdout + done.stderr  # points that were cut
    assert words.endswith("(9, False) True (0, True) False")
    assert listing == "['bundle']"  # the last one cleared what the killed ones left


def test_two_steps_would_be_found_out(make_bundle: Make) -> None:
    """The control: a Bundle that is moved away first is missing when that is cut."""
    command = [sys.executable, "-c", KILLED, str(make_bundle().path.parent), "two steps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "BundleError" in done.stderr


def test_a_file_system_that_cannot_exchange_is_told_so(
    make_bundle: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unsupported(*given: Any) -> None:
        raise OSError(22, "Invalid argument")

    bundle = make_bundle()
    before = tree(bundle.path)
    monkeypatch.setattr(exchange, "_exchange", unsupported)
    with pytest.raises(StorageError, match="--out"):
        stored(bundle, SmallNetwork(), variant())
    assert tree(bundle.path) == before
    gate = lambda staged: None  # noqa: E731
    content = SmallNetwork().onnx_model()
    add_variant(bundle, "int8", variant(), content, gate, tmp_path / "elsewhere")
    assert "int8" in open_bundle(tmp_path / "elsewhere").manifest.variants


def test_readers_see_the_old_or_the_new_bundle(make_bundle: Make) -> None:
    bundle = make_bundle()
    ids, errors, stop = set(), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                ids.add(open_bundle(bundle.path.parent).manifest.id)
            except ClearsightError as error:
                errors.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        current = bundle
        for _ in range(25):
            current = stored(current, SmallNetwork(), variant())
    finally:
        stop.set()
        reader.join()
    assert errors == []
    assert len(ids) > 1


def test_a_bundle_that_changed_meanwhile_is_not_overwritten(make_bundle: Make) -> None:
    bundle = make_bundle()
    other = stored(bundle, SmallNetwork(), variant())
    with pytest.raises(StorageError, match="changed by another command"):
        stored(bundle, SmallNetwork(), variant(0.07))
    assert open_bundle(bundle.path).manifest.id == other.manifest.id


def test_old_manifests_without_variants_are_read(make_bundle: Make, tmp_path: Path) -> None:
    import json

    bundle = make_bundle()
    file = bundle.path / "manifest.json"
    values = json.loads(file.read_bytes())
    del values["variants"], values["digest"]
    dump = {"indent": 1, "sort_keys": True, "ensure_ascii": False}
    values["digest"] = hashlib.sha256(json.dumps(values, **dump).encode()).hexdigest()
    file.write_text(json.dumps(values, **dump), encoding="utf-8")
    assert open_bundle(bundle.path).manifest.variants == {}


def test_write_bundle_keeps_variants(tmp_path: Path, make_bundle: Make) -> None:
    bundle = stored(make_bundle(), SmallNetwork(), variant())
    about = bundle.manifest.model_dump(mode="json", exclude={"files"})
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    copy = write_bundle(tmp_path / "copy", about, files, gate=lambda staged: None)
    assert copy.manifest == bundle.manifest


# --- NNCF -----------------------------------------------------------------------------------------

ALONE = """
import sys
for name in ("torch", "timm", "tensorflow"):
    sys.modules[name] = None  # as if they were not installed
import socket
def refuse(*given, **named): raise AssertionError("the network was used")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from pathlib import Path
from clearsight.convert.quantize import LADDER, Quantizer
from clearsight.testing.small_network import SmallNetwork, noise_images
content = Quantizer(SmallNetwork().onnx_model(), noise_images(20)).run(LADDER[0])
from nncf.telemetry.wrapper import telemetry
print(len(content) > 1000, type(telemetry).__name__, sys.modules["torch"])
print(sorted(str(path.relative_to(Path.home())) for path in Path.home().rglob("*")))
"""


def test_nncf_needs_no_torch_and_reports_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, env=env, check=False
    )
    assert done.stdout == "True MagicMock None\n[]\n", done.stdout + done.stderr
