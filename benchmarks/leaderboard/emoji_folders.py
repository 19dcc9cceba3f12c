"""Class folders of 64 x 64 colour pictures from an npm package of emoji; nothing is committed.

Usage: python benchmarks/leaderboard/emoji_folders.py FOLDER [--vendor google|twitter]

The package (emoji-datasource-VENDOR, with npm) holds one PNG an emoji and emoji.json with its
category, which becomes the class. Skin-tone variants are left out: they would put nearly the same
picture on both sides of a split. Transparent pixels become white.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from PIL import Image

FEWEST = 30
"""Categories with fewer pictures say nothing; "Component" (parts of other emoji) has nine."""


def write_emoji_folders(folder: Path, vendor: str = "google") -> Path:
    """Fetch the package and write FOLDER/CATEGORY/NAME.png.

    Args:
        folder: must not exist.
        vendor: whose pictures.
    """
    with tempfile.TemporaryDirectory() as temporary:
        package = f"emoji-datasource-{vendor}"
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("npm is needed to fetch the pictures; install it, or give --data.")
        packed = subprocess.run(
            [npm, "pack", package, "--silent"], cwd=temporary, check=True, capture_output=True
        )
        archive = Path(temporary) / packed.stdout.decode().strip().splitlines()[-1]
        with tarfile.open(archive) as tar:
            listed = json.load(_member(tar, "package/emoji.json"))
            wanted = _wanted(listed, vendor)
            for member in tar:
                name = member.name.removeprefix(f"package/img/{vendor}/64/")
                if member.isfile() and name in wanted:
                    _write(tar.extractfile(member).read(), folder / wanted[name] / name)  # type: ignore[union-attr]
    return folder


def _wanted(listed: list[dict[str, str]], vendor: str) -> dict[str, str]:
    """Return the class of every file name."""
    found: dict[str, str] = {}
    for item in listed:
        if item.get(f"has_img_{vendor}"):
            found[item["image"]] = re.sub(r"[^A-Za-z0-9]+", "-", item["category"]).strip("-")
    counts = {name: list(found.values()).count(name) for name in set(found.values())}
    return {name: category for name, category in found.items() if counts[category] >= FEWEST}


def _write(encoded: bytes, target: Path) -> None:
    picture = Image.open(io.BytesIO(encoded)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.alpha_composite(white, picture).convert("RGB").save(target)


def _member(tar: tarfile.TarFile, name: str) -> io.BufferedIOBase:
    stream = tar.extractfile(name)
    assert stream is not None, f"the package holds no {name}"
    return stream  # type: ignore[return-value]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vendor", default="google", choices=("google", "twitter"))
    options = parser.parse_args()
    print(write_emoji_folders(options.folder, options.vendor))
