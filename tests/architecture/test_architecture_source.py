"""What the source may not hold: pickle, running text as code, long files, vague names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))
CODE = [
    path
    for name in ("src", "scripts", "benchmarks", "examples")
    for path in sorted((ROOT / name).rglob("*.py"))
]
MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "yaml",
}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    "torch.load", "torch.save", "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load",
    "yaml.load", "yaml.unsafe_load", "pandas.read_pickle", "pd.read_pickle", "np.fromfile",
}  # fmt: skip
MOST_LINES, MOST_FUNCTION_LINES = 400, 60
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "shared"}


def forbidden(source: str) -> Iterator[str]:
    """Yield every way in which a source would run what a file says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            yield from _forbidden_call(node)
            continue
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in MODULES or name in METHODS)


def _forbidden_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    if called in METHODS or (isinstance(node.func, ast.Name) and called in CALLS):
        yield called
    for keyword in node.keywords:
        if keyword.arg in ("allow_pickle", "weights_only", "trust_remote_code"):
            safe = isinstance(keyword.value, ast.Constant) and (
                keyword.value.value is (keyword.arg == "weights_only")
            )
            if not safe:
                yield f"{called}({keyword.arg}=...)"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_what_a_file_says(path: Path) -> None:
    assert list(forbidden(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "def f():\n    from joblib import load",
        "import torch\ntorch.load('x')",
        "torch.save({}, 'x')",
        "from torch import load",
        "from torch.hub import load",
        "torch.hub.load('a', 'b')",
        "torch.jit.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "import yaml\nyaml.load(x)",
        "eval('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "__import__('os')",
        "thing(trust_remote_code=True)",
        "thing(weights_only=False)",
        "pd.read_pickle('x')",
    ],
)
def test_planted_source_is_caught(source: str) -> None:
    assert list(forbidden(source))


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "re.compile('x')", "np.load('x', allow_pickle=False)", "import pickletools"],
)
def test_harmless_source_is_not(source: str) -> None:
    assert list(forbidden(source)) == []


def too_long(source: str) -> Iterator[str]:
    """Yield the file and the functions that are too long.

    A function's lines are counted without its docstring, the functions and classes inside it
    (counted on their own) and literals of several lines: data is not code.
    """
    if source.count("\n") > MOST_LINES:
        yield f"{source.count(chr(10))} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _own_lines(node)
            if lines > MOST_FUNCTION_LINES:
                yield f"{node.name}: {lines} lines"


def _own_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = {n for item in body for n in range(item.lineno, (item.end_lineno or 0) + 1)}
    apart = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Dict | ast.List | ast.Tuple
    for item in body:
        for node in ast.walk(item):
            if isinstance(node, apart):
                lines -= set(range(node.lineno + 1, (node.end_lineno or 0) + 1))
    return len(lines)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert list(too_long(path.read_text(encoding="utf-8"))) == []


def test_planted_length_is_caught() -> None:
    assert list(too_long("x = 1\n" * 401)) == ["401 lines"]
    assert list(too_long("def f():\n" + "    x = 1\n" * 61)) == ["f: 61 lines"]
    assert list(too_long("def f():\n" + "    x = 1\n" * 60)) == []
    assert list(too_long("def f():\n    x = [\n" + "        1,\n" * 90 + "    ]\n")) == []


def test_names_say_what_is_in_them() -> None:
    named = {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert len(named) > 50
    assert not {part for name in named for part in name.split("_")} & VAGUE


def test_errors_are_of_the_one_tree() -> None:
    strangers = []
    builtin = {"Exception", "BaseException", "RuntimeError", "ValueError", "OSError", "KeyError"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name[0] != "_" and path.name != "errors.py":
                bases = {ast.unparse(base) for base in node.bases}
                strangers += [f"{path.name}: {node.name}"] if bases & builtin else []
    assert strangers == []


def test_no_machine_paths() -> None:
    machine = re.compile(r"""["'\s(](/work|/tmp|/home|/root)/""")
    assert machine.search('open("/home/me/x")')
    assert [path.name for path in FILES if machine.search(path.read_text("utf-8"))] == []
