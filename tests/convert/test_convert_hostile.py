"""CHECK 34: hostile model files. Nothing in them runs, all are refused, nothing is written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hostile_models import files, special_files

from clearsight import api
from clearsight.core.errors import ClearsightError
from clearsight.testing.small_network import SmallNetwork
from clearsight.testing.source_contract import small_float_onnx

WITNESS = Path(tempfile.mkdtemp()) / "it-ran"
FILES = files(WITNESS)
SAID = ("range=0-255", "mean=127", "std=128")


def bring(path: Path, place: Path) -> None:
    classes = place / "classes.txt"
    classes.write_text("a\nb\nc\nd\n")
    options = {"architecture": "test_resnet"} if path.suffix == ".safetensors" else {}
    api.import_model(str(path), classes=classes, out=place / "run", preprocess=SAID, **options)


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    path = place / name
    path.write_bytes(FILES[name])
    with pytest.raises(ClearsightError) as caught:
        bring(path, place)
    assert len(str(caught.value)) > 30
    assert not WITNESS.exists()
    assert {item.name for item in place.iterdir()} == {name, "classes.txt"}
    assert {item.name for item in tmp_path.iterdir()} == {"place"}


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in special_files(tmp_path):
        with pytest.raises(ClearsightError):
            bring(path, tmp_path)
    assert not (tmp_path / "run").exists()


def test_the_same_model_unspoilt_is_taken(tmp_path: Path) -> None:
    """The control: what is refused above is refused for what was done to it."""
    path = tmp_path / "good.onnx"
    path.write_bytes(small_float_onnx(SmallNetwork()))
    bring(path, tmp_path)
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()


def test_a_pickle_that_is_loaded_would_be_noticed(tmp_path: Path) -> None:
    """The control of the witness: the planted pickle does what it says when it is loaded."""
    import pickle

    from clearsight.testing.source_contract import touching_pickle

    pickle.loads(touching_pickle(tmp_path / "it-ran"))
    assert (tmp_path / "it-ran").exists()
