"""The command line itself: verbs, help, exit codes, one JSON object, no trace."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import clearsight
from clearsight.cli import main as command_line
from clearsight.cli.options import fail, show
from clearsight.core.errors import DataError, GateError, MissingExtraError, UsageError

FOLDER = Path(command_line.__file__).parent
SHARED = {"__init__", "main", "options", "progress", "ranking"}


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clearsight", *arguments])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


def test_every_file_is_a_verb_and_every_verb_a_file():
    files = {path.stem for path in FOLDER.glob("*.py")} - SHARED
    assert files == {command_line.module_of(verb) for verb in command_line.VERBS}


def test_the_overview_names_every_verb(call):
    code, out, _ = call("--help")
    assert code == 0
    for verb, meaning in command_line.VERBS.items():
        assert f"  {verb} " in out
        assert meaning.split(":")[0] in out


@pytest.mark.parametrize("verb", command_line.VERBS)
def test_every_verb_has_help(call, verb):
    code, out, err = call(verb, "--help")
    assert (code, err) == (0, "")
    assert command_line.VERBS[verb].split(":")[0] in out


def test_the_version(call):
    assert call("--version") == (0, f"clearsight {clearsight.__version__}\n", "")


def test_nothing_at_all_shows_the_overview(call):
    code, out, err = call()
    assert code == 2
    assert "train" in out + err


def test_the_overview_imports_no_room(tmp_path):
    program = (
        "import sys\nfrom clearsight.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('clearsight.')}\n"
        "assert rooms <= {'cli', 'core'}, rooms\n"
        "heavy = {'numpy', 'pydantic', 'rich.progress', 'PIL', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def raising(monkeypatch, error):
    """Make `doctor` fail."""

    def examine():
        raise error

    monkeypatch.setattr("clearsight.doctor.examine", examine)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("bad data"), 1),
        (UsageError("bad call"), 2),
        (MissingExtraError("torch", "train", "Training"), 2),
        (GateError("not met"), 3),
    ],
)
def test_an_error_has_its_exit_code(call, monkeypatch, error, code):
    raising(monkeypatch, error)
    assert call("doctor") == (code, "", f"error: {error}\n")
    got, out, err = call("doctor", "--json")
    assert (got, err) == (code, f"error: {error}\n")
    assert json.loads(out) == {"error": {"type": type(error).__name__, "message": str(error)}}


def test_a_bug_is_one_line_and_a_trace_on_request(call, monkeypatch):
    raising(monkeypatch, ZeroDivisionError("of all things"))
    code, out, err = call("doctor", "--json")
    assert code == 1
    assert json.loads(out)["error"]["type"] == "InternalError"
    assert "of all things" in err
    assert "CLEARSIGHT_DEBUG=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv("CLEARSIGHT_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["clearsight", "doctor"])
    with pytest.raises(ZeroDivisionError):
        command_line.main()


def test_an_interrupt_is_no_failure_of_ours(call, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    code, out, err = call("doctor", "--json")
    assert code == 130
    assert json.loads(out)["error"]["type"] == "Interrupted"
    assert err == "error: Interrupted.\n"


def test_a_reader_that_goes_away_is_no_trace(tmp_path):
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m clearsight --help | true'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_any_name_can_be_printed_and_json_stays_json(encoding, tmp_path):
    value = {"name": "猫 🐶 ñ", "broken": os.fsdecode(b"\xff.png")}
    program = (
        "import sys\nfrom clearsight.cli import main, options\n"
        "sys.argv = ['clearsight', 'doctor', '--json']\n"
        "import clearsight.doctor\n"
        f"clearsight.doctor.examine = lambda: [clearsight.doctor.Finding({value['name']!r}, 'ok',"
        f" {value['broken']!r})]\n"
        "main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (finding,) = json.loads(done.stdout.decode(encoding))["findings"]
    assert finding["name"] == value["name"]
    assert finding["detail"] == value["broken"]


def test_show_prints_one_of_the_two(capsys):
    show(True, {"a": "é"}, ["never"])
    assert capsys.readouterr().out == '{"a": "é"}\n'
    show(False, {"never": 1}, ["one", "two"])
    assert capsys.readouterr().out == "one\ntwo\n"


def test_no_number_that_is_none_reaches_json():
    with pytest.raises(ValueError, match="JSON"):
        show(True, {"accuracy": float("nan")}, [])


def test_fail_keeps_stdout_for_the_results(capsys):
    with pytest.raises(typer.Exit) as end:
        fail(GateError("not met"))
    assert end.value.exit_code == 3
    assert capsys.readouterr() == ("", "error: not met\n")


def test_help_is_quick():
    """The benchmark has the figure; here only a change by a factor is caught."""
    seconds = []
    for _ in range(3):
        before = os.times()
        command = [sys.executable, "-m", "clearsight", "--help"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        seconds.append(after.children_user - before.children_user)
    assert min(seconds) < 0.9, seconds


def test_serve_ends_on_sigterm_before_it_is_ready():
    """A signal while models are loading is a plain end, too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clearsight", "serve", "no-such-run"],
        stderr=subprocess.PIPE,
        text=True,
    )
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
