"""Progress goes to stderr: bars on a terminal, plain lines elsewhere."""

import io
import sys

import pytest

from clearsight.cli.options import progress_of
from clearsight.cli.progress import BarProgress
from clearsight.core.progress import Silent


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(progress):
    progress.start("decode", 40, "images")
    for _ in range(4):
        progress.advance(10, "val 0.93")
    progress.finish()
    progress.say("Chose [compact]", reason="best", seconds=3)


def test_off_a_terminal_one_line_says_what_was_done(capsys):
    with progress_of(quiet=False) as progress:
        work(progress)
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith("decode: 40 images in ")
    assert first.endswith("val 0.93")
    assert second == "Chose [compact]: reason best, seconds 3"


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with BarProgress() as progress:
        work(progress)
    said = stream.getvalue()
    assert "decode" in said
    assert "100%" in said
    assert "eta" in said
    assert "val 0.93" in said
    assert "images/s" in said


def test_quiet_says_nothing(capsys):
    with progress_of(quiet=True) as progress:
        assert isinstance(progress, Silent)
        work(progress)
    assert capsys.readouterr() == ("", "")


def test_work_without_a_start_is_survived(capsys):
    with BarProgress() as progress:
        progress.advance(1)
        progress.finish()


def test_an_exception_inside_passes(capsys):
    with pytest.raises(ZeroDivisionError), BarProgress():
        raise ZeroDivisionError


def test_a_task_that_finishes_early_says_how_far_it_came(capsys):
    with BarProgress() as progress:
        progress.start("train", 100, "s")
        progress.advance(30)
        progress.finish()
    assert capsys.readouterr().err.startswith("train: 30 s in ")
