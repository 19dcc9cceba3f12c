"""Every write is cut at every point, by an error and by death: old state or new, never between."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clearsight.core import files
from clearsight.core.errors import StorageError

DIED = 77
STEPS = 12


class Faults:
    """Counts the calls that touch the disk and lets one of them go wrong."""

    def __init__(self, at: int, strike: Callable[[], None], after: bool) -> None:
        self.at, self.strike, self.after, self.calls = at, strike, after, 0

    def guard(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **named: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if number == self.at and not self.after:
                self.strike()
            result = call(*args, **named)
            if number == self.at and self.after:
                self.strike()
            return result

        return guarded

    def open(self, *args: Any, **named: Any) -> Any:
        return Stream(self, open(*args, **named))


class Stream:
    """A file whose write stops in the middle when the fault strikes."""

    def __init__(self, faults: Faults, stream: Any) -> None:
        self.faults, self.stream = faults, stream

    def write(self, content: bytes) -> None:
        half = self.faults.guard(self.stream.write)
        half(content[: len(content) // 2])
        self.stream.flush()
        self.faults.guard(self.stream.write)(content[len(content) // 2 :])

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def planted(faults: Faults) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "rename"):
            patch.setattr(files.os, name, faults.guard(getattr(os, name)))
        patch.setattr(files, "open", faults.open, raising=False)
        yield


def fail(code: int) -> Callable[[], None]:
    def strike() -> None:
        raise OSError(code, os.strerror(code))

    return strike


def died(work: Callable[[], None]) -> bool:
    """Run in a child that may die; say whether it died."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED


def litter(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(files.TEMPORARY_PREFIX)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("after", [False, True])
def test_write_bytes_with_a_failing_disk(tmp_path: Path, code: int, after: bool) -> None:
    path = tmp_path / "file"
    failures = 0
    for at in range(STEPS):
        path.write_bytes(b"old content")
        faults = Faults(at, fail(code), after)
        try:
            with planted(faults):
                files.write_bytes(path, b"new content")
        except StorageError as error:
            failures += ("Free some space" in str(error)) == (code != errno.EIO)
            assert path.read_bytes() in (b"old content", b"new content")
        else:
            assert at >= faults.calls
            assert path.read_bytes() == b"new content"
        assert litter(tmp_path) == []
    assert failures >= 5


@pytest.mark.parametrize("after", [False, True])
def test_write_bytes_killed_at_every_point(tmp_path: Path, after: bool) -> None:
    path = tmp_path / "file"
    deaths, seen = 0, set()
    for at in range(STEPS):
        path.write_bytes(b"old content")

        def work(at: int = at) -> None:
            with planted(Faults(at, lambda: os._exit(DIED), after)):
                files.write_bytes(path, b"new content")

        deaths += died(work)
        seen.add(path.read_bytes())
        files.remove_litter(tmp_path)
        assert os.listdir(tmp_path) == ["file"]
    assert deaths >= 5
    assert seen == {b"old content", b"new content"}


def build(path: Path, gate: Callable[[Path], None] | None = None) -> None:
    with files.new_folder(path, gate) as staged:
        for name in ("a", "deep/b"):
            (staged / name).parent.mkdir(exist_ok=True)
            (staged / name).write_bytes(b"x" * 100)


def whole(path: Path) -> bool:
    return all((path / name).read_bytes() == b"x" * 100 for name in ("a", "deep/b"))


@pytest.mark.parametrize("after", [False, True])
def test_new_folder_with_a_failing_disk(tmp_path: Path, after: bool) -> None:
    failures = 0
    for at in range(STEPS):
        path = tmp_path / str(at)
        try:
            with planted(Faults(at, fail(errno.ENOSPC), after)):
                build(path)
        except StorageError:
            failures += 1
        assert not path.exists() or whole(path)
        assert litter(tmp_path) == []
    assert failures >= 5


@pytest.mark.parametrize("after", [False, True])
def test_new_folder_killed_at_every_point(tmp_path: Path, after: bool) -> None:
    deaths = 0
    for at in range(STEPS):
        path = tmp_path / str(at)

        def work(at: int = at, path: Path = path) -> None:
            with planted(Faults(at, lambda: os._exit(DIED), after)):
                build(path)

        deaths += died(work)
        assert not path.exists() or whole(path)
        files.remove_litter(tmp_path)
        assert litter(tmp_path) == []
    assert deaths >= 5


def test_new_folder_gate_cancels(tmp_path: Path) -> None:
    def refuse(staged: Path) -> None:
        assert whole(staged)
        raise KeyError("refused")

    with pytest.raises(KeyError):
        build(tmp_path / "new", refuse)
    assert os.listdir(tmp_path) == []


def test_new_folder_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(StorageError, match="already exists"):
        build(tmp_path / "new")
    assert os.listdir(tmp_path) == ["new"]


def test_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for at in range(4):
        with pytest.raises(KeyboardInterrupt), planted(Faults(at, interrupt, False)):
            files.write_bytes(tmp_path / "file", b"new")
        assert os.listdir(tmp_path) == []


def test_a_name_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    path = tmp_path / ("猫" * 85)  # 255 bytes
    files.write_text(path, "mèo")
    assert path.read_text(encoding="utf-8") == "mèo"


def test_a_failing_write_on_a_really_full_disk() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with pytest.raises(StorageError, match="no space left"), files.storage_errors(Path("x")):
        Path("/dev/full").write_bytes(b"x")


def test_permission_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file or folder"):
        files.write_bytes(tmp_path / "none" / "file", b"")
    with pytest.raises(StorageError, match="permission denied"), files.storage_errors(tmp_path):
        fail(errno.EACCES)()


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"名": [1, 2.5, None]})
    assert files.read_json(path) == {"名": [1, 2.5, None]}
    assert "名" in path.read_text(encoding="utf-8")
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(StorageError, match="not valid JSON"):
            files.read_json(path)


def test_remove_litter_touches_only_litter(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("x")
    (tmp_path / "target").mkdir()
    (tmp_path / f"{files.TEMPORARY_PREFIX}a").mkdir()
    (tmp_path / f"{files.TEMPORARY_PREFIX}a" / "b").write_text("x")
    (tmp_path / f"{files.TEMPORARY_PREFIX}c").write_text("x")
    (tmp_path / f"{files.TEMPORARY_PREFIX}link").symlink_to(tmp_path / "target")
    assert len(files.remove_litter(tmp_path)) == 3
    assert sorted(os.listdir(tmp_path)) == ["keep", "target"]


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256_file(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223")
    with pytest.raises(StorageError):
        files.sha256_file(tmp_path / "none")
