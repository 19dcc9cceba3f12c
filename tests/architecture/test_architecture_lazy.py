"""What need not be imported is not: torch only in learn, nothing heavy for --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
TRAINING_ONLY = [
    "torch", "torchvision", "timm", "sklearn", "scipy", "onnx", "onnxscript", "skl2onnx",
    "safetensors", "matplotlib", "pandas", "pyarrow",
]  # fmt: skip
HEAVY = [
    "numpy", "cv2", "PIL", "onnxruntime", "openvino", "pydantic", "starlette", "uvicorn",
    "jinja2", "rich", "simplejpeg", *TRAINING_ONLY,
]  # fmt: skip

REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Refuse())
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def modules() -> list[str]:
    """Every module that an installation without training extras must be able to import."""
    names = []
    for path in sorted((SOURCE / "clearsight").rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if not name.startswith(("clearsight.learn", "clearsight.testing", "clearsight.__main__")):
            names.append(name.removesuffix(".__init__"))
    return names


def test_everything_but_learn_imports_without_the_training_packages() -> None:
    names = modules()
    assert len(names) > 60
    program = REFUSE.format(refused=TRAINING_ONLY) + (
        f"import importlib\nfor name in {names!r}: importlib.import_module(name)\nprint('imported')"
    )
    result = run(program)
    assert result.stdout == "imported\n", result.stderr


def test_the_refusal_works() -> None:
    result = run(REFUSE.format(refused=["torch"]) + "import torch")
    assert "ModuleNotFoundError: No module named torch" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_the_overview_imports_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import atexit, sys
sys.argv = ["clearsight", *{arguments!r}]
atexit.register(lambda: print("LOADED", *sorted({{name.split(".")[0] for name in sys.modules}})))
from clearsight.cli.main import main
main()
"""
    result = run(program)
    loaded = result.stdout.rpartition("LOADED ")[2].split()
    assert "typer" in loaded, result.stderr
    assert set(loaded) & set(HEAVY) == set()


@pytest.mark.parametrize(
    "module", ["clearsight", "clearsight.core.errors", "clearsight.core.files", "clearsight.cli"]
)
def test_light_modules_stay_light(module: str) -> None:
    result = run(f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))")
    assert set(result.stdout.split()) & set(HEAVY) == set(), result.stderr


def test_listing_keys_imports_no_implementation() -> None:
    result = run(
        "import sys\n"
        "from clearsight.engines.session import ENGINES\n"
        "from clearsight.learn.family import FAMILIES\n"
        "print(len(ENGINES.keys()), len(FAMILIES.keys()) > 0)\n"
        "print([m for m in sys.modules if m.startswith('clearsight.learn.families.')])\n"
        "print({'torch', 'openvino', 'onnxruntime', 'sklearn'} & set(sys.modules))\n"
    )
    assert result.stdout == "2 True\n[]\nset()\n", result.stdout + result.stderr
