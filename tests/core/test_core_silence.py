"""Nothing is told to anybody: no identifier on disk, no connection, whatever libraries do."""

import os
import subprocess
import sys

import pytest

from clearsight.core.silence import SAYS_NO
from clearsight.testing.tiny_bundle import write_colour_bundle

USE = """
import socket, sys
class Watched(socket.socket):
    def connect(self, address):
        print("CONNECTED", address)
        raise OSError("no")
socket.socket = Watched
{first}
import clearsight
from pathlib import Path
r = clearsight.load(Path(sys.argv[1]))
print(r.predict(sys.argv[2]).label)
import onnxruntime
onnxruntime.InferenceSession(str(Path(sys.argv[1]) / "model.onnx"))
"""


def used(tmp_path, first="", **variables):
    """Return what was written to the user's own folders, and what was printed."""
    home = tmp_path / "home"
    home.mkdir()
    bundle = write_colour_bundle(tmp_path / "colours")
    picture = next((bundle.path / "golden").glob("*.png"))
    kept = {name: value for name, value in os.environ.items() if name not in {*SAYS_NO, "CI"}}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_DATA_HOME": str(home)}
    program = USE.format(first=first)
    told = subprocess.run(
        [sys.executable, "-c", program, str(bundle.path), str(picture)],
        env={**kept, **places, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return sorted(str(path.relative_to(home)) for path in home.rglob("*")), told.stdout


def test_using_a_recognizer_leaves_nothing_behind_and_calls_nobody(tmp_path):
    written, said = used(tmp_path)
    assert written == []
    assert "CONNECTED" not in said


def test_the_check_would_notice(tmp_path):
    written, _ = used(tmp_path, first="import onnxruntime")
    if not written:
        pytest.skip("this build of ONNX Runtime does not write an identifier")
    assert any("onnxruntime" in path for path in written)


def test_what_the_user_said_stays(tmp_path):
    program = "import clearsight, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "0"
