"""Finds real pictures to show the road on: Fashion-MNIST, else scikit-learn's digits.

Fashion-MNIST: Xiao, Rasul, Vollgraf 2017 (MIT licence). Never part of this repository.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from clearsight.core.errors import DataError, MissingExtraError, StorageError
from clearsight.core.files import new_folder, write_bytes
from clearsight.core.progress import Progress

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DOWNLOAD = "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
DOWNLOAD_TIMEOUT_S = 10
DOWNLOAD_LIMIT_BYTES = 64 * 1024 * 1024
APT_TIMEOUT_S = 180
SHA256_UNPACKED = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


@dataclass(frozen=True)
class SampleSet:
    """A data set that was found or fetched.

    Args:
        name: what it is.
        path: a folder that `read_dataset` reads.
        origin: where it came from, for a person.
    """

    name: str
    path: Path
    origin: str


def find_sample_set(folder: Path, progress: Progress) -> SampleSet:
    """Return Fashion-MNIST (Debian package, apt when root, verified download), else digits.

    Args:
        folder: where fetched or unpacked pictures may be kept.
        progress: told of every road that was tried and why the next one was.

    Raises:
        DataError: none of them can be had here.
    """
    if _complete(DEBIAN_FOLDER):
        return SampleSet("Fashion-MNIST", DEBIAN_FOLDER, "the installed Debian package")
    if _install(progress) and _complete(DEBIAN_FOLDER):
        return SampleSet("Fashion-MNIST", DEBIAN_FOLDER, "the Debian package, installed now")
    fetched = folder / "fashion-mnist"
    if _complete(fetched) or _download(fetched, progress):
        return SampleSet("Fashion-MNIST", fetched, f"a download from {DOWNLOAD}, checksum verified")
    progress.say("Falling back to scikit-learn's handwritten digits", size="1,797 pictures, 8x8")
    return SampleSet("digits", _digits(folder / "digits"), "scikit-learn's packaged data")


def _complete(folder: Path) -> bool:
    return all((folder / f"{name}.gz").is_file() for name in SHA256_UNPACKED)


def _install(progress: Progress) -> bool:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        progress.say(f"The Debian package {DEBIAN_PACKAGE} is not installed", reason="not root")
        return False
    progress.say(f"Installing the Debian package {DEBIAN_PACKAGE}")
    install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", DEBIAN_PACKAGE]
    for command in (install, ["apt-get", "-qq", "update"], install):
        try:
            done = subprocess.run(command, capture_output=True, timeout=APT_TIMEOUT_S, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return False
        if command is install and done.returncode == 0:
            return True
    return False


def _download(folder: Path, progress: Progress) -> bool:
    progress.say("Downloading Fashion-MNIST", source=DOWNLOAD)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as staged:
            for name, digest in SHA256_UNPACKED.items():
                content = _fetch(f"{DOWNLOAD}/{name}.gz")
                if hashlib.sha256(gzip.decompress(content)).hexdigest() != digest:
                    raise DataError(f"{name}.gz is not what it should be (its checksum differs).")
                write_bytes(staged / f"{name}.gz", content)
    except (OSError, EOFError, DataError, StorageError) as error:
        progress.say("The download failed", reason=error)
        return False
    return True


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer:  # noqa: S310
        content: bytes = answer.read(DOWNLOAD_LIMIT_BYTES)
    return content


def _digits(folder: Path) -> Path:
    """Write scikit-learn's digits as PNG files in class folders."""
    if folder.is_dir():
        return folder
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise MissingExtraError("scikit-learn", "train", "The fallback sample set") from error
    from PIL import Image

    digits = load_digits()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as staged:
        for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            target = staged / str(label) / f"{index:04d}.png"
            target.parent.mkdir(exist_ok=True)
            Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(target)
    return folder
