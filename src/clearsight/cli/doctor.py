"""`clearsight doctor`."""

from __future__ import annotations

from clearsight.cli.options import AsJson, show


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, usable and missing, and how to get it."""
    from clearsight.doctor import examine

    findings = examine()
    width = max(len(finding.name) for finding in findings)
    lines = [
        f"{finding.state:<8}{finding.name:<{width + 2}}{finding.detail}"
        + (f"  ->  {finding.remedy}" if finding.remedy else "")
        for finding in findings
    ]
    values = [
        {"name": f.name, "state": f.state, "detail": f.detail, "remedy": f.remedy} for f in findings
    ]
    show(as_json, {"findings": values}, lines)
