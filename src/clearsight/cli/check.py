"""`clearsight check DATA`."""

from __future__ import annotations

from clearsight.cli.options import AsJson, Data, Quiet, fail, progress_of, show
from clearsight.core.errors import GateError


def check(data: Data, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Look a data set over before training."""
    from clearsight.data.check import check_dataset

    with progress_of(quiet) as progress:
        report = check_dataset(data, progress=progress)
    values = report.model_dump(mode="json")
    lines = [
        f"Found {report.found} files: {report.used} used, {report.quarantined} quarantined, "
        f"{report.skipped} skipped."
    ]
    lines += [f"  {issue.kind}: {issue.detail}" for issue in report.issues[:50]]
    if len(report.issues) > 50:
        lines.append(f"  ... and {len(report.issues) - 50} more; --json lists them all.")
    show(as_json, values, lines if report.issues else [*lines, "No issues."])
    if report.obstacle:
        fail(GateError(f"Nothing can be trained on this data set. {report.obstacle}"))
