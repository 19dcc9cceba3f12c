"""`clearsight registry ...` as a person and as a program use it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearsight.cli import main as command_line
from clearsight.serve.registry import promotion
from clearsight.testing.tiny_bundle import write_colour_bundle

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    monkeypatch.setenv("CLEARSIGHT_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clearsight", "registry", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        said = capsys.readouterr()
        code = end.value.code or 0
        assert isinstance(code, int)
        return code, said.out, said.err

    return run


def ok(call: Call, *arguments: object) -> dict[str, Any]:
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_colour_bundle(folder / f"run{n}", gain=0.1 + n / 100).path for n in range(3)]


def test_the_road_of_a_version(
    call: Call, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[promotion.Bounds] = []

    def passes(*given: Any) -> promotion.Report:
        asked.append(given[-1])
        return promotion.Report(candidate=promotion.Measured(5.0, 50.0, "onnxruntime"))

    monkeypatch.setattr(promotion, "check", passes)
    quick = ("--engine", "onnxruntime", "--max-latency-ratio", 3, "--max-memory", "500MB")
    for number, run in enumerate(runs, 1):
        added = ok(call, "add", "colours", run, "--note", f"run {number}")
        assert (added["version"], added["new"]) == (number, True)
    assert not ok(call, "add", "colours", runs[0])["new"]
    report = ok(call, "promote", "colours", 1, "--why", "first", *quick)
    assert report["alias"] == "production"
    assert report["candidate"] == {"latency_ms": 5.0, "memory_mb": 50.0, "engine": "onnxruntime"}
    told = promotion.Bounds(engine="onnxruntime", latency_ratio=3, memory_mb=500)
    assert asked == [told]
    assert ok(call, "canary", "colours", 2, "--share", 0.25, *quick)["alias"] == "canary"
    assert ok(call, "shadow", "colours", 3, *quick)["alias"] == "shadow"
    model = ok(call, "list", "colours")["models"][0]
    assert model["aliases"] == {"production": 1, "canary": 2, "shadow": 3}
    assert ok(call, "stop", "colours", "shadow")["before"] == 3
    ok(call, "promote", "colours", 2, "--why", "better", *quick)
    assert ok(call, "rollback", "colours", "--why", "worse")["version"] == 1
    assert ok(call, "remove", "colours", 3)["removed"]
    assert len(ok(call, "gc", "--grace", 0)["removed"]) == 1
    assert ok(call, "check") == {"problems": []}
    lines = ok(call, "history", "colours")["history"]
    whats = ["add"] * 3 + ["promote", "canary", "shadow", "stop", "promote", "rollback", "remove"]
    assert [line["what"] for line in lines] == whats[::-1]
    assert ok(call, "backup", tmp_path / "backup")["bundles"] == 2
    ok(call, "restore", tmp_path / "backup", "--store", tmp_path / "other")
    there = ok(call, "list", "--store", tmp_path / "other")
    assert there == ok(call, "list")
    ok(call, "withdraw", "colours")
    ok(call, "remove", "colours", "--all")
    assert ok(call, "list") == {"models": []}


def test_what_a_person_reads(call: Call, runs: list[Path]) -> None:
    assert "registry add NAME RUN" in call("list")[1]
    assert "clearsight registry promote colours 1" in call("add", "colours", runs[0])[1]
    assert "(nothing in production)" in call("list")[1]
    out = call("promote", "colours", 1, "--engine", "onnxruntime")[1]
    assert "version 1 is production now" in out
    assert "ms of CPU a picture" in out
    assert "1  production" in call("list")[1]
    assert "promote colours 1" in call("history")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("promote", "colors", 1), 2, "Did you mean 'colours'"),
        (("promote", "colours", 9), 2, "Allowed: 1"),
        (("rollback", "colours"), 2, "registry promote colours VERSION"),
        (("canary", "colours", 1), 2, "has none there"),
        (("stop", "colours", "canaries"), 2, "Allowed: canary, shadow"),
        (("stop", "colours", "production"), 2, "does not stop"),
        (("remove", "colours"), 2, "--all"),
        (("remove", "colours", 1, "--all"), 2, "--all"),
        (("gc", "--grace", "soon"), 2, "soon"),
        (("add", "Colours", "nowhere"), 2, "cannot be called"),
        (("add", "colours", "nowhere"), 1, "holds no Bundle"),
        (("add", "colours", "nowhere", "--quota", "much"), 2, "500MB"),
        (("promote", "colours", 1, "--max-latency-ms", -1), 2, "latency_ms"),
        (("promote", "colours", 1, "--max-memory", "much"), 2, "500MB"),
        (
            ("promote", "colours", 1, "--max-memory", "1kB", "--engine", "onnxruntime"),
            3,
            "[memory]",
        ),
        (("restore", "nowhere", "--store", "STORE2"), 1, "is no backup"),
    ],
)
def test_refusals_say_what_to_do(
    call: Call,
    runs: list[Path],
    tmp_path: Path,
    arguments: tuple[object, ...],
    code: int,
    words: str,
) -> None:
    ok(call, "add", "colours", runs[0])
    told = [tmp_path / "store2" if item == "STORE2" else item for item in arguments]
    got, out, err = call(*told, "--json")
    assert got == code
    assert words in err
    assert words in json.loads(out)["error"]["message"]
    assert ok(call, "list")["models"][0]["aliases"] == {}


def test_a_damaged_store_is_exit_code_3(call: Call, runs: list[Path], tmp_path: Path) -> None:
    ok(call, "add", "colours", runs[0])
    file = next((tmp_path / "store" / "bundles").glob("*/model.onnx"))
    file.write_bytes(b"other")
    code, out, err = call("check", "--json")
    assert code == 3
    assert "colours version 1" in json.loads(out)["problems"][0]
    assert "backup" in err
