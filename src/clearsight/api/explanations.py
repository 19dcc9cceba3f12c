"""Explains the pictures of a command, and writes what was found into a folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearsight.api.cards import update_card
from clearsight.api.explaining import Asked, RecognizerExplainer, prepared_pictures
from clearsight.core.bundle import find_bundle
from clearsight.core.errors import ImageError, UsageError, nearest
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.core.nouns import ImagesNHWC
    from clearsight.data.dataset import Dataset
    from clearsight.engines.predictor import BundlePredictor
    from clearsight.explain.class_maps import ClassMap
    from clearsight.explain.sheet import Card
    from clearsight.explain.weights_check import WeightsCheck

SHEET, TOLD = "sheet.html", "explanations.json"
FOLDER = "explain"
CLASS_BATCH = 16


@dataclass(frozen=True)
class Explained:
    """What `explain_run` found and wrote.

    Args:
        rows: what programs read of every picture.
        method: key of the explainer that was used.
        check: whether maps change with random weights; None where that was not tried.
        check_reason: why it was not tried.
        classes: average maps.
        out: the folder that holds the sheet and the overlays.
    """

    rows: tuple[dict[str, Any], ...]
    method: str
    check: WeightsCheck | None
    check_reason: str
    classes: tuple[ClassMap, ...]
    out: Path

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight explain --json` prints."""
        checked = self.check.to_json() if self.check else {"passed": None}
        reason = {"reason": self.check_reason} if self.check_reason else {}
        return {
            "explanations": list(self.rows),
            "method": self.method,
            "weights_check": checked | reason,
            "class_maps": [one.to_json() for one in self.classes],
            "out": str(self.out),
            "sheet": str(self.out / SHEET),
        }


def explain_run(
    run: Path,
    paths: Sequence[Path],
    asked: Asked | None = None,
    out: Path | None = None,
    data: Path | None = None,
    engine: str | None = None,
    progress: Progress | None = None,
) -> Explained:
    """Explain pictures; write overlays, a contact sheet and a JSON file.

    Args:
        run: RUN or Bundle.
        paths: pictures, or folders searched for pictures.
        asked: what to explain, and how.
        out: a new folder; None takes RUN/explain, then RUN/explain-2 and so on.
        data: labelled pictures for average maps; None takes those held out from RUN's training.
        engine: see `engines.open`.
        progress: where to report.

    Raises:
        UsageError: nothing to explain, or a method or option that does not fit.
        StorageError: `out` exists, or an I/O failure; nothing is left behind.
    """
    from clearsight.core.files import new_folder
    from clearsight.engines.open import open_predictor

    asked, progress = asked or Asked(), progress or Silent()
    files = _files(paths, asked.class_maps)
    target = _target(run, out)
    predictor = open_predictor(run, engine)
    explaining = RecognizerExplainer(predictor, asked)
    progress.say(f"Explaining with {explaining.method}", engine=predictor.engine)
    check, reason = None, "not asked for"
    if asked.check_weights and files:
        check, reason = explaining.check_weights(_read(files))
    with new_folder(target) as staged:
        rows, cards = _explain_files(explaining, files, staged, progress)
        classes = _class_maps(explaining, run, data, progress)
        _write(staged, explaining, rows, cards, classes, check, str(run))
    update_card(run, predictor.bundle, progress)
    return Explained(tuple(rows), explaining.method, check, reason, tuple(classes), target)


def _files(paths: Sequence[Path], class_maps: int) -> list[Path]:
    from clearsight.evaluate.recognize import find_pictures

    if not paths and not class_maps:
        raise UsageError("Nothing to explain: give pictures, or --class-maps N.")
    return find_pictures(paths) if paths else []


def _target(run: Path, out: Path | None) -> Path:
    if out is not None:
        if out.exists():
            raise UsageError(f"{out} already exists. Choose another --out; nothing was changed.")
        return out
    if find_bundle(run) == run:
        raise UsageError(f"{run} is a Bundle and stays as it is: say where with --out FOLDER.")
    numbers = itertools.count(2)
    target = run / FOLDER
    while target.exists():
        target = run / f"{FOLDER}-{next(numbers)}"
    return target


def _read(files: Sequence[Path]) -> Iterator[bytes]:
    from clearsight.data.source import read_file

    for file in files:
        try:
            yield read_file(file)
        except ImageError:
            continue


def _explain_files(
    explaining: RecognizerExplainer, files: Sequence[Path], staged: Path, progress: Progress
) -> tuple[list[dict[str, Any]], list[Card]]:
    """Explain files one after another; each overlay is written at once."""
    from clearsight.data.source import read_file
    from clearsight.explain.heat import png
    from clearsight.explain.sheet import MOST_CARDS, card, is_small

    rows: list[dict[str, Any]] = []
    cards: list[Card] = []
    progress.start("explaining", max(1, len(files)), "pictures")
    for number, file in enumerate(files):
        try:
            found = explaining.explain(read_file(file), str(file))
        except ImageError as error:
            rows.append({"path": str(file), "error": str(error)})
            progress.advance(1)
            continue
        name = f"{number:05d}-{found.told['method']}.png"
        (staged / name).write_bytes(png(found.overlay()))
        rows.append({**found.told, "overlay": name})
        if len(cards) < MOST_CARDS:
            small = is_small(found.size)
            cards.append(card(str(file), found.picture, found.heat, small, found.told))
        progress.advance(1)
    progress.finish()
    return rows, cards


def _class_maps(
    explaining: RecognizerExplainer, run: Path, data: Path | None, progress: Progress
) -> list[ClassMap]:
    """Return average maps of labelled pictures, where they are wanted."""
    from clearsight.api.scoring import held_out, labelled
    from clearsight.explain.class_maps import class_maps

    count = explaining.asked.class_maps
    if not count:
        if data is not None:
            raise UsageError("--data is for average maps: say how many with --class-maps N.")
        return []
    dataset, _ = held_out(run) if data is None else labelled(data)
    classes = list(explaining.predictor.classes)
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise UsageError(
            f"The recognizer knows no class {unknown[0]!r}.{nearest(unknown[0], classes)}"
        )
    progress.start("average maps", count * len(dataset.classes), "pictures")
    shown = 0

    def told(done: int) -> None:
        nonlocal shown
        progress.advance(done - shown)
        shown = done

    def pictures(number: int) -> Iterator[ImagesNHWC]:
        return _batches(explaining.predictor, dataset, classes[number], count)

    found = class_maps(explaining.explainer, explaining.subject, pictures, told)
    progress.finish()
    return found


def _batches(
    predictor: BundlePredictor, dataset: Dataset, label: str, count: int
) -> Iterator[ImagesNHWC]:
    """Yield a class's first pictures that can be used, a few at a time."""
    import numpy as np

    if label not in dataset.classes:
        return
    number = dataset.classes.index(label)
    rows = [at for at, sample in enumerate(dataset.samples) if number in sample.labels]
    encoded: Callable[[int], bytes] = dataset.encoded
    images = prepared_pictures(predictor, (encoded(at) for at in rows), count)
    for start in range(0, len(images), CLASS_BATCH):
        yield np.stack(images[start : start + CLASS_BATCH])


def _write(
    staged: Path,
    explaining: RecognizerExplainer,
    rows: list[dict[str, Any]],
    cards: list[Card],
    classes: list[ClassMap],
    check: WeightsCheck | None,
    run: str,
) -> None:
    """Write the sheet and the JSON file into a folder."""
    from clearsight.core.files import write_json, write_text
    from clearsight.explain.heat import heat, shown
    from clearsight.explain.sheet import card, render_sheet

    p = explaining.predictor.preprocessing
    size = (p.height, p.width)
    averages = []
    for one in classes:
        picture = one.picture if p.channels == 3 else one.picture.repeat(3, axis=2)
        layer = heat(one.map_hw, p.model_copy(update={"fit": "stretch"}), size)
        averages.append(card("", shown(picture), layer, True, one.to_json()))
    total = sum("error" not in row for row in rows)
    method = explaining.method
    write_text(staged / SHEET, render_sheet(cards, averages, check, method, run, total))
    told = {
        "method": method,
        "explanations": rows,
        "weights_check": None if check is None else check.to_json(),
        "class_maps": [one.to_json() for one in classes],
    }
    write_json(staged / TOLD, told)
