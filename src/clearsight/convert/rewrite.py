"""Writes a Bundle again with one variant more; readers find the old Bundle or the new one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clearsight.core.bundle import CARD, Bundle, find_bundle, open_bundle, write_bundle
from clearsight.core.errors import StorageError
from clearsight.core.exchange import replace_folder
from clearsight.core.files import remove_litter
from clearsight.core.variants import Variant

HEADING = "## Variants"


def add_variant(
    bundle: Bundle,
    key: str,
    variant: Variant,
    content: bytes,
    gate: Callable[[Bundle], None],
    out: Path | None = None,
) -> Bundle:
    """Write a Bundle with a variant, in its own place or in a new folder.

    A variant that was there under the same key is replaced. Everything else is copied byte for
    byte; the id is another, as the content is.

    Args:
        bundle: the Bundle as it is.
        key: of the variant.
        variant: what the manifest says of it.
        content: its ONNX file.
        gate: receives the finished Bundle under a temporary name; raises to refuse it.
        out: a new folder; None replaces `bundle` in one step.

    Raises:
        GateError, BundleError: the gate refused; nothing has changed.
        StorageError: an I/O failure, or the Bundle was changed meanwhile; nothing has changed.
    """
    _check_unchanged(bundle)
    files = _files(bundle, key, variant, content)
    about = _about(bundle, key, variant, content)

    def write(path: Path) -> None:
        write_bundle(path, about, files, gate)
        if out is None:
            _check_unchanged(bundle)

    if out is not None:
        write(out)
        return open_bundle(out)
    remove_litter(bundle.path.parent)
    replace_folder(bundle.path, write)
    return open_bundle(bundle.path)


def _files(bundle: Bundle, key: str, variant: Variant, content: bytes) -> dict[str, bytes]:
    before = bundle.manifest.variants.get(key)
    names = set(bundle.manifest.files) - ({before.file} if before else set())
    files = {name: bundle.read(name) for name in sorted(names)}
    variants = {**bundle.manifest.variants, key: variant}
    if CARD in files:
        files[CARD] = _card(files[CARD].decode("utf-8"), variants).encode("utf-8")
    return files | {variant.file: content}


def _about(bundle: Bundle, key: str, variant: Variant, content: bytes) -> dict[str, Any]:
    about = bundle.manifest.model_dump(mode="json", exclude={"files"})
    about["variants"][key] = variant.model_dump(mode="json")
    seed = bundle.manifest.id.encode() + key.encode() + content
    return about | {"id": hashlib.sha256(seed).hexdigest()[:32]}


def _check_unchanged(bundle: Bundle) -> None:
    """Refuse to overwrite what another command wrote while this one worked."""
    if open_bundle(find_bundle(bundle.path)).manifest.id != bundle.manifest.id:
        raise StorageError(
            f"{bundle.path} was changed by another command meanwhile. Nothing was written; run "
            "this command again."
        )


def _card(card: str, variants: dict[str, Variant]) -> str:
    """Return the card with one table of all variants at its end."""
    rows = [
        f"| {key} | {engine} | {seen.drop:.2f} ({seen.drop_low:.2f} to {seen.drop_high:.2f}) | "
        f"{seen.n} | {seen.agreement:.4f} | {seen.speed_up:.2f} |"
        for key, variant in sorted(variants.items())
        for engine, seen in sorted(variant.engines.items())
    ]
    table = (
        f"{HEADING}\n\nMeasured beside the fp32 model on the same validation pictures, the speed "
        "on the machine that made them.\n\n"
        "| variant | engine | accuracy lost, points (95 % interval) | pictures | same answer | "
        "speed-up |\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    return card.partition(HEADING)[0].rstrip() + "\n\n" + table
