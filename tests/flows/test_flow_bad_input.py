"""Everything that issue 2 lists under "Bad input": a clear message, the right exit code, nothing
lost, inputs untouched, and never a trace."""

import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import zlib

import pytest
from flow_support import encode, environment, tree, write_digits
from PIL import Image

from clearsight.testing.tiny_bundle import write_colour_bundle

FAILED, USAGE, GATE = 1, 2, 3


def refused(clearsight, code, words, *arguments):
    """Expect a refusal, with and without --json; return the message."""
    plain = clearsight(*arguments)
    assert plain.code == code, plain
    for word in words:
        assert word in plain.err, plain.err
    as_json = clearsight(*arguments, "--json")
    assert as_json.code == code
    assert isinstance(as_json.json, dict)
    return plain.err


def train(folder, tmp_path, *options):
    return ("train", folder, "--out", tmp_path / "run", "--time", "20s", *options)


def huge_png(width, height):
    """A real PNG head that announces a huge picture, and almost no data."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


# data that cannot be trained on ------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["train", "check"])
def test_a_missing_folder(clearsight, tmp_path, verb):
    options = train(tmp_path / "gone", tmp_path)[1:] if verb == "train" else [tmp_path / "gone"]
    refused(clearsight, FAILED, ["gone", "cannot be opened"], verb, *options)
    assert not (tmp_path / "run" / "bundle").exists()


@pytest.mark.parametrize("verb", ["train", "check"])
def test_an_empty_folder(clearsight, tmp_path, verb):
    (tmp_path / "empty").mkdir()
    options = train(tmp_path / "empty", tmp_path)[1:] if verb == "train" else [tmp_path / "empty"]
    refused(clearsight, FAILED, ["is empty", "one folder of pictures a class"], verb, *options)


def test_pictures_without_class_folders(clearsight, tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(encode(Image.new("L", (8, 8))))
    refused(clearsight, FAILED, ["no class folders"], *train(tmp_path / "flat", tmp_path))


def test_one_class(clearsight, tmp_path):
    data = write_digits(tmp_path / "data", ["zero"], 5)
    before = tree(data)
    refused(clearsight, FAILED, ["at least two classes", "zero"], *train(data, tmp_path))
    refused(clearsight, GATE, ["two classes"], "check", data)
    assert tree(data) == before


def test_class_names_that_differ_in_case_only(clearsight, tmp_path):
    data = write_digits(tmp_path / "data", ["Cat", "cat"], 5)
    words = ["'Cat'", "'cat'", "differ only in letter case", "Merge"]
    refused(clearsight, FAILED, words, *train(data, tmp_path))
    outcome = clearsight("check", data, "--json")
    assert outcome.code == GATE
    assert "case-twins" in {issue["kind"] for issue in outcome.json["issues"]}


def test_a_validation_folder_with_unknown_classes(clearsight, tmp_path):
    write_digits(tmp_path / "data" / "train", ["oak", "birch"], 5)
    write_digits(tmp_path / "data" / "val", ["oak", "brich"], 2)
    words = ["'brich'", "val", "'birch'"]
    refused(clearsight, FAILED, words, *train(tmp_path / "data", tmp_path))
    refused(clearsight, FAILED, words, "check", tmp_path / "data")


def test_only_damaged_pictures(clearsight, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "1.png").write_bytes(b"")
    refused(clearsight, FAILED, ["no usable picture"], *train(tmp_path / "data", tmp_path))


# damaged files among good ones -------------------------------------------------------------------


@pytest.fixture
def odd_files(two_classes):
    """Add to good pictures everything that is found in real folders; return name -> reason."""
    good = (two_classes / "one" / "000.png").read_bytes()
    files = {
        "zero/truncated.png": (good[: len(good) // 2], "undecodable"),
        "zero/empty.jpg": (b"", "empty"),
        "one/huge.png": (huge_png(60_000, 60_000), "pixels"),
        "one/really-text.jpg": (b"this is no picture at all", "format"),
        "one/notes.txt": (b"oak: 12", "skipped"),
        "stray.png": (good, "skipped"),
        ".hidden.png": (good, "skipped"),
    }
    for name, (content, _) in files.items():
        (two_classes / name).write_bytes(content)
    return {name: reason for name, (_, reason) in files.items()}


def test_damaged_files_are_named_and_stop_nothing(clearsight, two_classes, odd_files):
    before = tree(two_classes)
    outcome = clearsight("check", two_classes, "--json")
    report = outcome.json
    assert outcome.code == 0
    assert report["used"] == 24
    assert report["found"] == 24 + len(odd_files)
    assert report["found"] == report["used"] + report["quarantined"] + report["skipped"]
    damaged = {i["path"]: i["detail"] for i in report["issues"] if i["kind"] == "unreadable"}
    expected = {name: reason for name, reason in odd_files.items() if reason != "skipped"}
    assert set(damaged) == set(expected)
    for name, reason in expected.items():
        assert damaged[name].startswith(reason), damaged[name]
    assert "60,000" in damaged["one/huge.png"]
    skipped = {name for name, _ in report["skipped_entries"]}
    assert skipped == {name for name, reason in odd_files.items() if reason == "skipped"}
    assert tree(two_classes) == before


def test_a_folder_that_may_not_be_read(clearsight, two_classes, monkeypatch):
    """The superuser ignores modes, so the refusal of the system call is simulated."""
    real = os.open, open

    def refuse(path, *rest, **named):
        if str(path).endswith("000.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real[1](path, *rest, **named)

    monkeypatch.setattr("builtins.open", refuse)
    outcome = clearsight("check", two_classes, "--json")
    damaged = {i["path"]: i["detail"] for i in outcome.json["issues"] if i["kind"] == "unreadable"}
    assert set(damaged) == {"zero/000.png", "one/000.png"}
    assert all(detail.startswith("unreadable: ") for detail in damaged.values())
    assert all("ermission" in detail for detail in damaged.values())
    assert outcome.json["used"] == 22


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_class_folder_that_may_not_be_listed(clearsight, two_classes):
    (two_classes / "secret").mkdir(mode=0o000)
    outcome = clearsight("check", two_classes, "--json")
    assert outcome.code == 0
    assert any("cannot be listed" in reason for _, reason in outcome.json["skipped_entries"])


def test_an_output_folder_that_may_not_be_written(clearsight, two_classes, tmp_path, monkeypatch):
    real = os.mkdir

    def refuse(path, *rest, **named):
        if "locked" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "mkdir", refuse)
    words = ["permission denied", "Choose a folder you may write"]
    arguments = ("train", two_classes, "--out", tmp_path / "locked" / "run")
    refused(clearsight, FAILED, words, *arguments)


def test_names_in_any_script(clearsight, tmp_path):
    names = ["猫", "🐶 dog", "ñandú", "a b, \"c\"; 'd'"]
    data = write_digits(tmp_path / "资料 📁", names, 10)
    outcome = clearsight("check", data, "--json")
    assert outcome.code == 0
    assert outcome.json["classes"] == dict.fromkeys(names, 10)
    plan = clearsight(*train(data, tmp_path, "--dry-run", "--json"))
    assert plan.code == 0
    assert sorted(plan.json["classes"]) == sorted(names)
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_no_text(clearsight, two_classes):
    bad = os.fsencode(two_classes / "zero") + b"/\xff\xfe.png"
    shutil.copy(two_classes / "zero" / "000.png", bad)
    outcome = clearsight("check", two_classes, "--json")
    assert outcome.code == 0
    assert any("not valid Unicode" in reason for _, reason in outcome.json["skipped_entries"])


def test_a_class_with_one_picture_is_reported(clearsight, two_classes):
    (two_classes / "rare").mkdir()
    shutil.copy(two_classes / "one" / "001.jpeg", two_classes / "rare" / "only.jpeg")
    Image.new("L", (32, 32), 90).save(two_classes / "rare" / "only.jpeg")
    outcome = clearsight("check", two_classes, "--json")
    small = {i["path"] for i in outcome.json["issues"] if i["kind"] == "small-class"}
    assert outcome.code == 0
    assert "rare" in small


def test_a_class_with_one_picture_is_learnt_and_counted(clearsight, two_classes, tmp_path):
    (two_classes / "rare").mkdir()
    Image.new("L", (32, 32), 90).save(two_classes / "rare" / "only.png")
    before, run = tree(two_classes), tmp_path / "run"
    outcome = clearsight(
        *(
            "train",
            two_classes,
            "--out",
            run,
            "--model",
            "hog+linear-svm",
            "--epochs",
            "1",
            "--json",
        )
    )
    assert outcome.code == 0, outcome.err
    parts = [json.loads(line) for line in (run / "splits.jsonl").open(encoding="utf-8")]
    assert [part["part"] for part in parts if part["label"] == "rare"] == ["train"]
    figures = clearsight("evaluate", run, "--json").json
    assert figures["per_class"]["rare"]["n"] == 0
    assert figures["per_class"]["rare"]["recall"] is None
    assert 0 <= figures["balanced_accuracy"] <= 1
    rows = clearsight("predict", run, two_classes / "rare", "--json").json["rows"]
    assert set(rows[0]["scores"]) == {"zero", "one", "rare"}
    assert tree(two_classes) == before


# words that are not known ------------------------------------------------------------------------

UNKNOWN = {
    "a verb": (["trian", "x"], ["Unknown command 'trian'", "train"]),
    "an option": (["train", "{data}", "--out", "{out}", "--epoch", "3"], ["--epoch", "--epochs"]),
    "a missing option": (["train", "{data}"], ["--out"]),
    "a model": (
        ["train", "{data}", "--out", "{out}", "--model", "compcat"],
        ["compcat", "compact"],
    ),
    "a setting": (
        ["train", "{data}", "--out", "{out}", "--set", "splitt.val=0.2"],
        ["splitt", "split"],
    ),
    "an inner setting": (
        ["train", "{data}", "--out", "{out}", "--set", "split.vall=0.2"],
        ["split.vall", "'val'"],
    ),
    "a setting without a value": (
        ["train", "{data}", "--out", "{out}", "--set", "seed"],
        ["name=value"],
    ),
    "a value out of range": (
        ["train", "{data}", "--out", "{out}", "--set", "split.val=0.7"],
        ["split.val", "0.7"],
    ),
    "a value of another type": (
        ["train", "{data}", "--out", "{out}", "--epochs", "many"],
        ["--epochs", "valid number"],
    ),
    "a time": (["train", "{data}", "--out", "{out}", "--time", "soon"], ["90s", "'soon'"]),
    "a family's setting": (
        [
            "train",
            "{data}",
            "--out",
            "{out}",
            "--model",
            "hog+linear-svm",
            "--set",
            "family.options.hog.cel=4",
        ],
        ["cel", "cell"],
    ),
    "an engine": (["predict", "{bundle}", "{data}", "--engine", "onnx"], ["onnx", "onnxruntime"]),
    "a table format": (["predict", "{bundle}", "{data}", "--out", "t.xls"], [".csv", "t.xls"]),
    "a port": (["serve", "{bundle}", "--port", "70000"], ["--port", "65535"]),
    "a picture": (["predict", "{bundle}", "{out}"], ["does not exist"]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_word_is_refused(clearsight, two_classes, bundle, tmp_path, name):
    arguments, words = UNKNOWN[name]
    places = {"data": two_classes, "bundle": bundle, "out": tmp_path / "run"}
    arguments = [item.format(**places) for item in arguments]
    if arguments[0] == "serve":
        outcome = clearsight(*arguments)
        assert outcome.code == USAGE
        assert all(word in outcome.err for word in words), outcome.err
    else:
        refused(clearsight, USAGE, words, *arguments)
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_configuration_file_with_an_unknown_name(clearsight, two_classes, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text("sed = 3\n")
    arguments = ("train", two_classes, "--out", tmp_path / "run", "--config", config)
    refused(clearsight, USAGE, ["'sed'", "'seed'"], *arguments)
    config.write_text("seed = = 3\n")
    refused(clearsight, USAGE, ["not valid"], *arguments)


# the RUN folder ----------------------------------------------------------------------------------


def test_an_output_folder_that_is_in_use_is_left_alone(clearsight, two_classes, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("ten years")
    words = ["not empty", "nothing was changed"]
    refused(clearsight, USAGE, words, *train(two_classes, tmp_path))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_resume_without_a_run(clearsight, two_classes, tmp_path):
    arguments = ("train", two_classes, "--out", tmp_path / "run", "--resume")
    refused(clearsight, USAGE, ["no run to resume"], *arguments)


def test_resume_takes_no_other_settings(clearsight, two_classes, tmp_path):
    refused(clearsight, USAGE, ["--resume"], *train(two_classes, tmp_path, "--resume"))


# Bundles -----------------------------------------------------------------------------------------


@pytest.fixture
def own_bundle(tmp_path):
    return write_colour_bundle(tmp_path / "own").path


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


TAMPERED = {
    "a byte of the model": lambda path: flip(path / "model.onnx", 100),
    "a byte of the manifest": lambda path: flip(path / "manifest.json", -20),
    "a class renamed": lambda path: (path / "manifest.json").write_text(
        (path / "manifest.json").read_text().replace('"red"', '"rde"')
    ),
    "a file removed": lambda path: (path / "model.onnx").unlink(),
    "a file added": lambda path: (path / "extra.bin").write_bytes(b"x"),
    "a truncated model": lambda path: os.truncate(path / "model.onnx", 50),
    "a link": lambda path: (path / "link").symlink_to("model.onnx"),
    "another format version": lambda path: (path / "manifest.json").write_text(
        json.dumps({**json.loads((path / "manifest.json").read_text()), "format_version": 99})
    ),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "an empty manifest": lambda path: (path / "manifest.json").write_text(""),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_bundle_is_refused(clearsight, own_bundle, two_classes, tmp_path, how):
    TAMPERED[how](own_bundle)
    before = tree(own_bundle)
    refused(clearsight, FAILED, [], "predict", own_bundle, two_classes)
    refused(
        clearsight, FAILED, [], "evaluate", own_bundle, two_classes, "--out", tmp_path / "r.html"
    )
    outcome = clearsight("serve", own_bundle, "--port", "0")
    assert outcome.code == FAILED
    assert tree(own_bundle) == before
    assert not (tmp_path / "r.html").exists()


def test_classes_the_recognizer_does_not_know(clearsight, bundle, two_classes, tmp_path):
    arguments = ("evaluate", bundle, two_classes, "--out", tmp_path / "r.html")
    message = refused(clearsight, FAILED, [], *arguments)
    assert "zero" in message or "one" in message


def test_a_bundle_alone_needs_data_to_be_scored_on(clearsight, bundle):
    refused(clearsight, USAGE, ["DATA"], "evaluate", bundle)


# predict -----------------------------------------------------------------------------------------


def test_damaged_pictures_become_rows_with_an_error(clearsight, bundle, two_classes, odd_files):
    outcome = clearsight("predict", bundle, two_classes, "--json")
    errors = {
        row["path"].rsplit("/", 1)[1]: row["error"] for row in outcome.json["rows"] if row["error"]
    }
    assert outcome.code == 0
    assert set(errors) == {"truncated.png", "empty.jpg", "huge.png", "really-text.jpg"}
    for row in outcome.json["rows"]:
        assert (row["label"] is None) == (row["error"] is not None)


def test_nothing_but_damaged_pictures_is_a_failure(clearsight, bundle, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    words = ["No picture could be recognized"]
    refused(clearsight, FAILED, words, "predict", bundle, tmp_path / "a.png")
    outcome = clearsight("predict", bundle, tmp_path / "a.png", "--out", tmp_path / "t.csv")
    assert outcome.code == FAILED
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").count("\n") == 2


def test_a_full_disk_leaves_the_old_table(clearsight, bundle, two_classes, tmp_path, monkeypatch):
    table = tmp_path / "t.csv"
    table.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    words = ["no space left on the disk", "Free some space"]
    refused(clearsight, FAILED, words, "predict", bundle, two_classes, "--out", table)
    assert table.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "t.csv"]


def test_a_full_disk_stops_a_training_cleanly(two_classes, tmp_path):
    """On a real file system of 256 kB, in a mount name space of its own."""
    small = tmp_path / "small"
    small.mkdir()
    program = (
        f'mount -t tmpfs -o size=256k tmpfs "{small}" || exit 99\n'
        f'"{sys.executable}" -m clearsight train "{two_classes}" --out "{small}/run" --epochs 1 '
        f"--model hog+linear-svm --json; code=$?\n"
        f'find "{small}" -name ".clearsight-tmp-*" >&2; ls "{small}/run/bundle" >&2; exit $code'
    )
    before = tree(two_classes)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    assert done.returncode == FAILED, done.stderr
    assert "no space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert ".clearsight-tmp-" not in done.stderr
    assert json.loads(done.stdout)["error"]["type"] == "StorageError"
    assert tree(two_classes) == before


# serve -------------------------------------------------------------------------------------------


def test_an_occupied_port_names_a_free_one(clearsight, bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = clearsight("serve", bundle, "--port", port)
    assert outcome.code == FAILED
    assert f"Port {port} on 127.0.0.1 is taken" in outcome.err
    assert "Try --port " in outcome.err


def test_an_address_that_is_not_ours(clearsight, bundle):
    outcome = clearsight("serve", bundle, "--host", "no.such.host.invalid")
    assert outcome.code == FAILED
    assert "--host 127.0.0.1" in outcome.err


def test_two_models_of_one_name(clearsight, bundle, tmp_path):
    other = tmp_path / bundle.name
    shutil.copytree(bundle, other)
    outcome = clearsight("serve", bundle, other, "--port", "0")
    assert outcome.code == FAILED
    assert "Two models would be called 'colours'" in outcome.err
