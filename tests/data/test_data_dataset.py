import builtins
import gzip
import io
import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearsight.core.errors import DataError, ImageError, UnknownKeyError
from clearsight.data.dataset import read_dataset
from clearsight.data.listing import natural_key, walk
from clearsight.data.readers.idx import read_idx


def png(seed=0, size=(5, 6)):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def put(root, **contents):
    """Write files given as {path: bytes or seed}; returns the folder."""
    for name, content in contents.pop("files", contents).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(content) if isinstance(content, int) else content)
    return root


def state(root):
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in sorted(root.rglob("*"))}


BIG_PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(
    ">I4sIIBBBBBI", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0, 0
)


def test_class_folders_in_any_script_in_natural_order(tmp_path):
    names = ["10/a.png", "2/a.png", "猫/a.jpg", "🐶/深/a.png", "Äpfel/a.png", "b/10.png", "b/9.png"]
    data = read_dataset(put(tmp_path, files=dict.fromkeys(names, 1)))
    assert data.classes == ("2", "10", "b", "Äpfel", "猫", "🐶")
    assert data.reader == "class-folders"
    assert [s.name for s in data.samples if data.classes[s.label] == "b"] == ["b/9.png", "b/10.png"]
    assert data.found == len(data) == 7
    assert data.image(0).shape == (5, 6, 3)
    assert data.encoded(0) == png(1)
    assert len(data.digest(0)) == 64
    assert data.select([3, 1]).samples == (data.samples[3], data.samples[1])


def test_every_bad_file_is_named_with_its_reason(tmp_path):
    root = put(
        tmp_path,
        files={
            "a/ok.png": 1,
            "b/ok.png": 2,
            "a/zero.jpg": b"",
            "a/text.jpg": b"hello",
            "a/cut.png": png(3)[:20],
            "a/big.png": BIG_PNG,
            "a/phone.heic": b"\0\0\0\x18ftypheic",
            "a/notes.txt": b"hello",
            "a/empty.txt": b"",
            "a/.DS_Store": b"x",
            ".git/config": b"x",
            "loose.png": 4,
        },
    )
    os.mkfifo(root / "a" / "pipe.png")
    (root / "void").mkdir()
    before = state(root)
    data = read_dataset(root)
    assert {item.name: item.reason for item in data.quarantined} == {
        "a/zero.jpg": "empty",
        "a/text.jpg": "format",
        "a/cut.png": "undecodable",
        "a/big.png": "pixels",
        "a/phone.heic": "format",
    }
    assert "60,000 x 60,000" in next(i.detail for i in data.quarantined if i.reason == "pixels")
    reasons = {item.name: item.reason for item in data.skipped}
    assert reasons[".git"] == reasons["a/.DS_Store"] == "hidden"
    assert "no class" in reasons["loose.png"]
    assert "not a picture" in reasons["a/notes.txt"]
    assert "regular" in reasons["a/pipe.png"]
    assert "without pictures" in reasons["void"]
    assert data.classes == ("a", "b")
    assert data.found == len(data) + len(data.quarantined) + len(data.skipped) == 14
    assert state(root) == before


def test_a_large_exif_block_before_the_size_is_read_through(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (9, 7)).save(stream, "JPEG", exif=b"Exif\0\0" + bytes(60_000))
    data = read_dataset(put(tmp_path, files={"a/1.jpg": stream.getvalue(), "b/1.png": 1}))
    assert len(data) == 2


def test_unreadable_files_are_quarantined(tmp_path, monkeypatch):
    root = put(tmp_path, files={"a/1.png": 1, "b/1.png": 2, "b/2.png": 3})
    data = read_dataset(root)
    real = builtins.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("2.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    (bad,) = read_dataset(root).quarantined
    assert (bad.name, bad.reason) == ("b/2.png", "unreadable")
    assert "Permission denied" in bad.detail
    with pytest.raises(ImageError, match="Permission denied"):
        data.encoded(2)


def test_folders_that_cannot_be_listed_are_skipped(tmp_path, monkeypatch):
    root = put(tmp_path, files={"a/1.png": 1, "b/1.png": 2, "b/deep/2.png": 3})
    real = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    data = read_dataset(root)
    assert [(s.name, "Permission denied" in s.reason) for s in data.skipped] == [("b/deep", True)]


def test_links_never_leave_the_folder(tmp_path):
    outside = put(tmp_path / "outside", files={"secret.png": 9})
    root = put(tmp_path / "data", files={"a/1.png": 1, "b/1.png": 2})
    (root / "a" / "same.png").symlink_to("1.png")
    (root / "a" / "out.png").symlink_to(outside / "secret.png")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "self.png").symlink_to("self.png")
    (root / "a" / "gone.png").symlink_to("nowhere.png")
    (root / "c").symlink_to(outside)
    data = read_dataset(root)
    assert [s.name for s in data.samples] == ["a/1.png", "a/same.png", "b/1.png"]
    reasons = {item.name: item.reason for item in data.skipped}
    assert set(reasons) == {"a/out.png", "a/loop", "a/self.png", "a/gone.png", "c"}
    assert "leaves" in reasons["a/out.png"]
    through_link = tmp_path / "link"
    through_link.symlink_to(root)
    assert len(read_dataset(through_link)) == 3


def test_names_that_are_no_text_are_skipped(tmp_path):
    root = put(tmp_path, files={"a/1.png": 1, "b/1.png": 2})
    try:
        with open(os.fsencode(root / "a") + b"/\xff.png", "wb") as stream:
            stream.write(png(3))
    except OSError:
        pytest.skip("this file system refuses such names")
    (skipped,) = read_dataset(root).skipped
    assert "Unicode" in skipped.reason
    json.dumps(skipped.name).encode("utf-8")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "is empty"),
        ({"1.png": 1, "2.png": 2}, "2 pictures but no class folders"),
        ({"labels.csv": b"path,label\n"}, "'labels.csv': give that file"),
        ({"readme.txt": b"x"}, "no class folders and no pictures"),
        ({"a/x.txt": b"x", "b/0.png": b""}, "no usable picture"),
    ],
)
def test_folders_that_are_no_data(tmp_path, files, words):
    with pytest.raises(DataError, match=words):
        read_dataset(put(tmp_path, files=files))


def test_paths_and_readers_that_do_not_exist(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(UnknownKeyError, match="class-folders"):
        read_dataset(put(tmp_path, files={"a/1.png": 1}), reader="class-folder")
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"\.zip"):
        read_dataset(tmp_path / "x.zip")


def test_split_folders(tmp_path):
    files = {"train/a/1.png": 1, "train/b/1.png": 2, "Valid/a/2.png": 3, "test/b/3.png": 4}
    data = read_dataset(put(tmp_path, files={**files, "extra/x.png": 5, "test/6.png": 6}))
    assert data.reader == "split-folders"
    assert data.classes == ("a", "b")
    assert {s.name: s.part for s in data.samples} == {
        "train/a/1.png": "train",
        "train/b/1.png": "train",
        "Valid/a/2.png": "val",
        "test/b/3.png": "test",
    }
    assert {s.name for s in data.skipped} == {"extra/x.png", "test/6.png"}
    assert len(data.part("val")) == 1


def test_train_and_test_without_val_and_train_alone(tmp_path):
    root = put(tmp_path, files={"train/a/1.png": 1, "train/b/1.png": 2})
    assert {s.part for s in read_dataset(root).samples} == {"train"}
    put(root, files={"test/a/1.png": 3})
    assert {s.part for s in read_dataset(root).samples} == {"train", "test"}
    put(root, files={"val/a/1.png": 4, "validation/a/1.png": 4})
    with pytest.raises(DataError, match="'val' and 'validation'"):
        read_dataset(root)


def test_a_class_called_train_is_a_class(tmp_path):
    data = read_dataset(put(tmp_path, files={"train/1.png": 1, "bus/1.png": 2, "test/1.png": 3}))
    assert data.reader == "class-folders"
    assert data.classes == ("bus", "test", "train")


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_train_does_not_have(tmp_path, part):
    files = {"train/cat/1.png": 1, "train/dog/1.png": 2, f"{part}/dogs/1.png": 3}
    with pytest.raises(DataError, match=r"'dogs' .*Did you mean 'dog'"):
        read_dataset(put(tmp_path, files=files))


def test_unicode_forms_of_one_name(tmp_path):
    data = read_dataset(put(tmp_path, files={"cafe\u0301/1.png": 1, "b/1.png": 2}))
    assert data.classes == ("b", "caf\u00e9")
    put(tmp_path, files={"caf\u00e9/1.png": 3})
    both = read_dataset(tmp_path)
    assert set(both.classes) == {"b", "caf\u00e9", "cafe\u0301"}


MANIFEST_FILES = {"in/1.png": 1, "in/2.png": 2, "3.png": 3}


def manifest(root, text, name="list.csv"):
    put(root, files=MANIFEST_FILES)
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_csv_manifest(tmp_path):
    text = (
        "\ufeffid,label,path,split\n1,猫,in/1.png,train\n2,dog,./in/2.png,val\n3,dog,3.png,train\n"
    )
    data = read_dataset(manifest(tmp_path, text))
    assert data.reader == "manifest"
    assert data.classes == ("dog", "猫") or data.classes == ("猫", "dog")
    assert [(s.name, data.classes[s.label], s.part) for s in data.samples] == [
        ("in/1.png", "猫", "train"),
        ("in/2.png", "dog", "val"),
        ("3.png", "dog", "train"),
    ]
    assert data.image(0).shape == (5, 6, 3)


def test_jsonl_manifest(tmp_path):
    rows = [{"path": "in/1.png", "label": 7}, {"path": "3.png", "label": "x", "part": None}]
    text = "\n\n".join(map(json.dumps, rows))
    data = read_dataset(manifest(tmp_path, text, "list.jsonl"))
    assert [data.classes[s.label] for s in data.samples] == ["7", "x"]


def test_manifest_rows_that_are_not_used_are_named(tmp_path):
    put(tmp_path / "outside", files={"1.png": 1})
    root = tmp_path / "data"
    put(root, files={"in/4.png": b""})
    (root / "link.png").symlink_to(tmp_path / "outside" / "1.png")
    paths = ["in/1.png", "../outside/1.png", "/etc/passwd", "https://a.b/c.png", "gone.png", "in"]
    paths += ["", "in/../in/1.png", "in/4.png", "link.png", "3.png"]
    text = "path,label\n" + "".join(f"{path},a\n" for path in paths) + "in/2.png,\n"
    data = read_dataset(manifest(root, text))
    assert [s.name for s in data.samples] == ["in/1.png", "3.png"]
    assert {q.name: q.reason for q in data.quarantined} == {
        "gone.png": "unreadable",
        "in/4.png": "empty",
    }
    reasons = {item.name: item.reason for item in data.skipped}
    assert "leaves" in reasons["../outside/1.png"]
    assert "leaves" in reasons["/etc/passwd"]
    assert "leaves" in reasons["link.png"]
    assert "never fetched" in reasons["https://a.b/c.png"]
    assert "no path" in reasons["line 8"]
    assert "line 2" in reasons["in/1.png"]
    assert "no label" in reasons["in/2.png"]
    assert data.found == 12


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.csv", "file,label\n", "no column 'path'"),
        ("l.csv", "", "no column 'path'"),
        ("l.csv", "path,label\nin/1.png,a\nin/1.png,b\n", "'a' on line 2 and 'b' on line 3"),
        ("l.csv", "path,label,part\nin/1.png,a,trian\n", "Did you mean 'train'"),
        ("l.csv", "path,label,part,split\n", "both 'part' and 'split'"),
        ("l.csv", 'path,label\n"in/1.png,a\n', "cannot be read as CSV"),
        ("l.csv", "path,label\n", "no usable picture"),
        ("l.jsonl", "{", "cannot be read as JSONL"),
        ("l.jsonl", "[1]", "one JSON object"),
        ("l.jsonl", "[" * 100_000, "cannot be read as JSONL"),
        ("l.jsonl", '{"path": "in/1.png"}', "no column 'label'"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, name, text, words):
    with pytest.raises(DataError, match=words):
        read_dataset(manifest(tmp_path, text, name))


def test_a_manifest_that_is_not_utf_8(tmp_path):
    (tmp_path / "l.csv").write_bytes("path,label\nä.png,a\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_dataset(tmp_path / "l.csv")


def idx(shape, data, kind=8):
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + bytes(data)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_idx(tmp_path, packed, channels):
    shape = (6, 4, 5, *channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for stem in ("train", "t10k"):
        images = idx(shape, pixels.tobytes()), f"{stem}-images-idx{len(shape)}-ubyte"
        labels = idx((6,), [0, 2, 10, 2, 0, 10]), f"{stem}-labels-idx1-ubyte"
        for content, name in (images, labels):
            name, content = (name + ".gz", gzip.compress(content)) if packed else (name, content)
            (tmp_path / name).write_bytes(content)
    (tmp_path / "README").write_text("x")
    data = read_dataset(tmp_path)
    assert data.classes == ("0", "2", "10")
    assert [len(data.part(part)) for part in ("train", "val", "test")] == [6, 0, 6]
    expected = pixels[2] if channels else np.repeat(pixels[2][..., None], 3, axis=2)
    np.testing.assert_array_equal(data.image(2), expected)
    assert data.encoded(2).startswith(b"\x89PNG")
    assert [item.name for item in data.skipped] == ["README"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as IDX"),
        (b"\0\0\x0d\x01" + bytes(8), "unsigned bytes"),
        (b"\0\0\x08\x07", "unsigned bytes"),
        (idx((10, 3, 3), b"x" * 89), "cannot hold|ends after"),
        (idx((2, 3, 3), b"x" * 19), "more than"),
        (idx((2**32 - 1,) * 4, b""), "cannot hold"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_that_lie(tmp_path, content, words, packed):
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=words):
        read_idx(path)


def test_idx_pairs_that_do_not_fit(tmp_path):
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes(idx((2, 3, 3), bytes(18)))
    with pytest.raises(DataError, match="no labels file"):
        read_dataset(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx((3,), [0, 1, 2]))
    with pytest.raises(DataError, match="2 pictures, but its labels"):
        read_dataset(tmp_path)
    damaged = gzip.compress(idx((2, 3, 3), bytes(18)))[:-6]
    images.unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(damaged)
    with pytest.raises(DataError, match="Fetch"):
        read_dataset(tmp_path)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(["a", "B", "ä", "🐶", "train", ".h"]),
            st.sampled_from(["1.png", "x.txt", ".y", "sub/2.jpg", "ﬁ.gif", " "]),
        ),
        st.sampled_from([1, 2, b"", b"text", BIG_PNG]),
        max_size=12,
    )
)
def test_random_trees_lose_nothing(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    put(root, files={"/".join(name): content for name, content in tree.items()})
    put(root, files={"c/1.png": 1})
    before = state(root)
    data = read_dataset(root)
    seen = {item.name for item in (*data.samples, *data.quarantined, *data.skipped)}
    assert len(seen) == data.found
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        hidden = [part for part in name.split("/") if part.startswith(".")]
        if path.is_file():
            assert name in seen or (hidden and name.split("/")[0] in seen)
    assert state(root) == before


def test_natural_order_is_total_and_walk_uses_it(tmp_path):
    names = ["a10", "a2", "A2", "a02", "", "10", "9", "9" * 5000, "²", "٣"]
    once = sorted(names, key=natural_key)
    backwards = names[::-1]
    assert once == sorted(backwards, key=natural_key)
    assert once.index("a2") < once.index("a10")
    assert once.index("9") < once.index("10")
    put(tmp_path, files={"b10": b"", "b9": b"", "a/1": b""})
    assert walk(tmp_path)[0] == ["a/1", "b9", "b10"]
