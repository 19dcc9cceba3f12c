"""The command line, called as its users call it, on real pictures."""

import sys

import pytest
from flow_support import Outcome, checked, write_digits

from clearsight.cli.main import main
from clearsight.testing.tiny_bundle import write_colour_bundle


@pytest.fixture
def clearsight(monkeypatch, capsys):
    """Call the command line in this process."""

    def call(*arguments):
        arguments = [str(item) for item in arguments]
        monkeypatch.setattr(sys, "argv", ["clearsight", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return checked(Outcome(code, said.out, said.err), arguments)

    return call


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A Bundle that names a picture's main colour; only to be read."""
    return write_colour_bundle(tmp_path_factory.mktemp("bundle") / "colours").path


@pytest.fixture
def two_classes(tmp_path):
    """A small data set that can be trained on."""
    return write_digits(tmp_path / "data", ["zero", "one"], 12)
