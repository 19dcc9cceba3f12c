"""Rooms import downwards only, and every planted violation is caught."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
ROOMS = ("core", "data", "learn", "engines", "evaluate", "serve", "api", "cli", "testing")
ABOVE = {
    "core": ROOMS[1:],
    "data": ROOMS[2:],
    "learn": ROOMS[3:],
    "engines": ("learn", *ROOMS[4:]),
    "evaluate": ROOMS[5:],
    "serve": ("convert", *ROOMS[6:]),
    "convert": ROOMS[5:],
    "cli": ("testing",),
}
TORCH_FREE = ("core", "data", "engines", "evaluate", "convert", "serve", "cli")


def lint(source: Path, where: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command as run; run()"
    options = ["--no-cache", "--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tree_keeps_its_contracts(tmp_path: Path) -> None:
    result = lint(SOURCE, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Plant every violation in a copy of the tree at once and return what is reported."""
    where = tmp_path_factory.mktemp("planted")
    shutil.copytree(
        SOURCE / "clearsight",
        where / "clearsight",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for room, above in violations():
        file = where / "clearsight" / room / f"planted_{above}.py"
        file.write_text(f"def later():\n    import {target(above)}\n")
    (where / "clearsight" / "new_room.py").write_text("")
    result = lint(where, where)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


def violations() -> list[tuple[str, str]]:
    rooms = [(room, above) for room, names in ABOVE.items() for above in names]
    torch = itertools.product(TORCH_FREE, ("torch", "torchvision", "timm"))
    extras = itertools.product(("engines", "evaluate", "serve"), ("onnx", "safetensors", "sklearn"))
    return [*rooms, *torch, *extras]


def target(above: str) -> str:
    if above == "api":
        return "clearsight.api.training"
    return f"clearsight.{above}" if above in (*ROOMS, "convert") else above


@pytest.mark.parametrize(("room", "above"), violations())
def test_planted_violation_is_caught(planted: str, room: str, above: str) -> None:
    assert f"clearsight.{room}.planted_{above} -> {target(above)} " in planted


def test_a_module_in_no_layer_is_caught(planted: str) -> None:
    assert "new_room" in planted


def test_the_contracts_name_every_room() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = " | ".join(contracts["contracts"][0]["layers"]).split(" | ")
    modules = {path.stem for path in (SOURCE / "clearsight").iterdir() if path.suffix == ".py"}
    rooms = {path.parent.name for path in (SOURCE / "clearsight").glob("*/__init__.py")}
    assert set(layers) == (modules | rooms) - {"__init__"}
