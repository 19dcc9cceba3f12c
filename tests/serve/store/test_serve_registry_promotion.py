"""Bad promotions of each kind: refused, the alias unchanged, the reason shown (CHECKS 26)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_models import (
    golden_miss,
    good,
    greedy,
    model_bundle,
    nan,
    no_model,
    slow,
    with_variant,
    wrong_shape,
)
from store_support import in_child, passes

from clearsight.core.bundle import MODEL, Bundle
from clearsight.core.errors import ConfigError, GateError
from clearsight.serve.registry import promotion, trial
from clearsight.serve.registry.model_registry import ModelRegistry
from clearsight.serve.registry.promotion import Bounds, Measured, Report, check
from clearsight.serve.registry.records import Signature
from clearsight.serve.store.blobs import FolderBlobs
from clearsight.serve.store.database import Database

QUICK = Bounds(engine="onnxruntime")
SIGNATURE = Signature("single-label", ("red", "green", "blue"))


def examine(bundle: Bundle, bounds: Bounds = QUICK, incumbent: Bundle | None = None) -> Report:
    manifest = bundle.manifest
    mine = Signature(manifest.task, manifest.classes)
    beside = None
    if incumbent is not None:
        beside = Signature(incumbent.manifest.task, incumbent.manifest.classes)
    return check(bundle.path, incumbent.path if incumbent else None, (mine, beside), bounds)


def alone(candidate: Path, _: Path | None, signatures: Any, bounds: Bounds) -> Report:
    """The real checks, without the time to measure what is in production."""
    return check(candidate, None, signatures, bounds)


def reasons(report: Report) -> list[str]:
    return [refusal.reason for refusal in report.refusals]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return good(tmp_path_factory.mktemp("base") / "bundle")


def test_a_good_version_passes_and_is_measured(
    base: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSIGHT_DATABASE", "postgresql://user:geheim@host/name")
    seen: list[dict[str, str]] = []
    real = subprocess.Popen

    def watch(command: list[str], **options: Any) -> object:
        seen.append(dict(options["env"]))
        return real(command, **options)

    monkeypatch.setattr(promotion.subprocess, "Popen", watch)
    report = examine(base, incumbent=base)
    assert len(seen) == 2
    assert "geheim" not in str(seen)  # the model's process hears no secret
    assert report.refusals == ()
    for measured in (report.candidate, report.incumbent):
        assert measured is not None
        assert measured.engine == "onnxruntime"
        assert 0 < measured.latency_ms < 100
        assert 0 <= measured.memory_mb < 500


BAD: dict[str, tuple[Callable[[Path], Bundle], str]] = {
    "nan": (nan, "NaN"),
    "golden": (golden_miss, "other scores than were recorded"),
    "shape": (wrong_shape, "3 classes"),
    "unusable": (no_model, ""),
    "signature": (lambda path: good(path, classes=("red", "green", "pink")), "it lacks 'blue'"),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_versions_change_nothing_and_say_why(reason: str, tmp_path: Path, base: Bundle) -> None:
    make, words = BAD[reason]
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite3'}")
    blobs = FolderBlobs(tmp_path / "bundles")
    ModelRegistry(database, blobs, check=passes).add("shoes", base.path, who="ann")
    ModelRegistry(database, blobs, check=passes).promote("shoes", 1, who="ann")
    registry = ModelRegistry(database, blobs, check=alone)
    registry.add("shoes", make(tmp_path / "bad").path, who="bob")
    before = registry.entries()
    with pytest.raises(GateError, match=rf"\[{reason}\]") as caught:
        registry.promote("shoes", 2, who="bob", bounds=QUICK)
    assert words in str(caught.value)
    assert "Nothing was changed: 'shoes' has production 1." in str(caught.value)
    assert registry.entries() == before
    newest = registry.history()[0]
    assert newest.what == "refused"
    assert f"[{reason}]" in newest.why
    ModelRegistry(database, blobs, check=passes).promote("shoes", 2, who="control")
    assert registry.entries()["shoes"].production == "2"  # control: the checks were what refused
    database.close()


def test_a_bundle_that_was_damaged_in_the_store(tmp_path: Path, base: Bundle) -> None:
    registry = ModelRegistry(
        Database(f"sqlite:///{tmp_path / 'store.sqlite3'}"), FolderBlobs(tmp_path / "bundles")
    )
    digest = registry.add("shoes", base.path, who="ann").record.digest
    file = registry.blobs.folder(digest) / MODEL
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(GateError, match=r"\[corrupt\].*'model.onnx' is not what was written"):
        registry.promote("shoes", 1, who="ann", bounds=QUICK)
    file.unlink()
    with pytest.raises(GateError, match=r"\[corrupt\]"):
        registry.promote("shoes", 1, who="ann", bounds=QUICK)
    file.write_bytes(whole)
    registry.promote("shoes", 1, who="ann", bounds=QUICK)  # control: mended, it is promoted
    registry.database.close()


@pytest.mark.parametrize(
    ("gain", "refused"), [(0.1, []), (float("nan"), ["nan"]), (0.01, ["golden"])]
)
def test_variants_are_tried_too(tmp_path: Path, gain: float, refused: list[str]) -> None:
    assert reasons(examine(with_variant(tmp_path / "bundle", gain))) == refused


def test_other_classes_and_tasks_are_promoted_when_asked_for(
    base: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "_tried", lambda *_, **__: Report())
    for other in (
        Signature("single-label", ("red", "green", "pink")),
        Signature("multi-label", SIGNATURE.classes),
        Signature("single-label", SIGNATURE.classes[::-1]),
    ):
        assert reasons(check(base.path, base.path, (other, SIGNATURE))) == ["signature"]
        told = Bounds(new_signature=True)
        assert check(base.path, base.path, (other, SIGNATURE), told).refusals == ()
        assert check(base.path, None, (other, None)).refusals == ()  # nothing to differ from
    assert check(base.path, base.path, (SIGNATURE, SIGNATURE)).refusals == ()


def test_more_memory_than_allowed(tmp_path: Path, base: Bundle) -> None:
    hungry = greedy(tmp_path / "hungry", mib=48)
    patient = Bounds(engine="onnxruntime", latency_ms=1e5)
    report = examine(hungry, patient, base)
    assert reasons(report) == ["memory"]
    assert "Allowed are 64 MB; allow more with" in report.reasons()
    allowed = Bounds(engine="onnxruntime", latency_ms=1e5, memory_mb=500)
    assert examine(hungry, allowed).refusals == ()  # control


def test_a_model_that_would_eat_the_machine_takes_only_its_own_process(tmp_path: Path) -> None:
    before = _resident_mb()
    report = examine(greedy(tmp_path / "huge", mib=2_000_000), Bounds(engine="onnxruntime"))
    assert reasons(report) == ["memory"]
    assert _resident_mb() - before < 200


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_more_compute_than_allowed(tmp_path: Path, base: Bundle) -> None:
    lazy = slow(tmp_path / "slow")
    report = examine(lazy, incumbent=base)
    assert reasons(report) == ["latency"]
    assert "production needs" in report.reasons()


def test_checks_that_do_not_end(base: Bundle) -> None:
    report = examine(base, Bounds(engine="onnxruntime", timeout_s=0.05))
    assert reasons(report) == ["time"]


def test_a_trial_that_nobody_waits_for_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "GRACE_S", 0.1)

    def work() -> None:
        trial.bound(10**10, 0.1)
        while True:
            pass

    assert in_child(work) == -signal.SIGALRM


def test_a_process_that_dies_is_a_refusal(base: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, sys; sys.stderr.write('gone\\n'); sys.stderr.flush(); os.abort()"
    real = subprocess.Popen

    def dies(command: list[str], **options: object) -> object:
        return real([sys.executable, "-c", program], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(promotion.subprocess, "Popen", dies)
    report = examine(base)
    assert reasons(report) == ["crash"]
    assert "signal 6 (gone)" in report.reasons()


def test_a_version_in_production_that_cannot_be_measured_is_no_reason(
    tmp_path: Path, base: Bundle
) -> None:
    broken = model_bundle(tmp_path / "broken", b"no model", {})
    report = examine(base, incumbent=broken)
    assert report.refusals == ()
    assert "was not measured" in report.notes[0]


@pytest.mark.parametrize(
    ("candidate", "incumbent", "bounds", "refused"),
    [
        (Measured(10, 10, ""), None, Bounds(), []),
        (Measured(10, 10, ""), Measured(5.1, 10, ""), Bounds(), []),
        (Measured(10, 10, ""), Measured(4.9, 10, ""), Bounds(), ["latency"]),
        (Measured(1.9, 10, ""), Measured(0.1, 10, ""), Bounds(), []),  # nobody feels that
        (Measured(10, 10, ""), Measured(4.9, 10, ""), Bounds(latency_ms=11), []),
        (Measured(10, 10, ""), Measured(9, 10, ""), Bounds(latency_ms=9), ["latency"]),
        (Measured(10, 10, ""), Measured(9, 10, ""), Bounds(latency_ratio=1.1), ["latency"]),
        (Measured(1, 199, ""), Measured(1, 100, ""), Bounds(), []),
        (Measured(1, 201, ""), Measured(1, 100, ""), Bounds(), ["memory"]),
        (Measured(1, 60, ""), Measured(1, 1, ""), Bounds(), []),  # too small to matter
        (Measured(1, 60, ""), Measured(1, 1, ""), Bounds(memory_mb=50), ["memory"]),
        (Measured(1, 201, ""), Measured(1, 100, ""), Bounds(memory_ratio=2.1), []),
    ],
)
def test_bounds(
    candidate: Measured, incumbent: Measured | None, bounds: Bounds, refused: list[str]
) -> None:
    found = promotion._bound_refusals(candidate, incumbent, bounds)
    assert [refusal.reason for refusal in found] == refused


@pytest.mark.parametrize("name", ["latency_ratio", "memory_ratio", "latency_ms", "memory_mb"])
def test_bounds_that_make_no_sense(name: str) -> None:
    for value in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match=name):
            Bounds.parse({name: value})
