"""Every command of the tutorial is run, in order, in an empty folder; so is every example."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import check_docs  # noqa: E402

ONE_PASS = ("--time 60s", "--epochs 1")  # the clock of a busy machine must not decide a test
SHORT = "12s"  # for the example that trains in Python
INSTALLATION = "venv"  # the block that installs is what `make test` has done already


def commands():
    page = check_docs.read_page(ROOT / "docs/tutorial.md")
    for block in page.blocks:
        if block.language in ("console", "bash") and INSTALLATION not in block.text:
            for line in block.text.splitlines():
                if block.language == "bash" or line.startswith("$ "):
                    yield line.removeprefix("$ ")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder in which the project's examples and commands are at hand."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "bin").mkdir()
    for name, call in {"python": "", "clearsight": "-m clearsight"}.items():
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        script.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def told(place):
    """Run everything; return what each command printed."""
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    port, said, service = free_port(), {}, None
    try:
        for written in commands():
            line = written.replace(*ONE_PASS).replace("8000", port)
            if "01_train" in line:
                line += f" {SHORT}"
            if line.startswith("clearsight serve"):
                service = subprocess.Popen(
                    ["sh", "-c", f"exec {line}"], cwd=place, env=env, stdout=subprocess.PIPE
                )
                assert b"http" in service.stdout.readline()
                continue
            done = subprocess.run(
                ["sh", "-c", line], cwd=place, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            said[written] = done.stdout
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
    finally:
        if service is not None:
            service.kill()
            service.wait()
            service.stdout.close()
    return said


def output(told, *words):
    (found,) = [text for line, text in told.items() if all(word in line for word in words)]
    return found


def test_every_command_works(told, place):
    assert len(told) >= 10
    assert (place / "runs/digits/report.html").is_file()
    assert (place / "answers.csv").read_text(encoding="utf-8").count("\n") > 100


def test_the_pictures_are_written(told, place):
    assert "Wrote 1797 pictures" in output(told, "00_write")
    assert len(list((place / "digits").rglob("*.png"))) == 1797


def test_the_recognizer_is_good(told):
    assert "No issues." in output(told, "check")
    accuracy = float(output(told, "clearsight evaluate").split("Accuracy ")[1].split()[0])
    assert accuracy > 0.9


def test_one_picture_is_recognized_everywhere_alike(told):
    assert output(told, "clearsight predict", "0003.png").startswith("digits/3/0003.png: 3 ")
    assert '"label":"3"' in output(told, "curl").replace(" ", "").split("}")[0]
    assert len(output(told, "01_train").splitlines()) == 1 + 3
    assert output(told, "03_serve").startswith("3 ")
    assert "exit code 0" in output(told, "03_serve")


def test_the_evaluation_example_reads_the_figures(told):
    said = output(told, "02_evaluate")
    assert float(said.removeprefix("Accuracy ").split()[0]) > 0.9
    assert "Worst class: " in said


def test_every_example_is_in_the_tutorial_or_run_by_its_own_test():
    written = " ".join(commands())
    elsewhere = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*_examples.py")]
    for example in (ROOT / "examples").glob("[0-9]*.py"):
        own = any(f'"{example.name}"' in text for text in elsewhere)
        assert own or f"examples/{example.name}" in written
    assert len(list((ROOT / "examples").glob("[0-9]*.py"))) >= 4
