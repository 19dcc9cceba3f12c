"""What a measurement found, as plain data and as lines for a person."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from clearsight.client.load.histogram import Histogram
from clearsight.client.load.plan import LoadPlan
from clearsight.client.load.record import Recorder
from clearsight.core.version import __version__

BUSY = 0.8
"""Share of one core from which the generator itself may be what limits."""
MOST_TIMELINE = 3600


@dataclass(frozen=True)
class LoadResult:
    """One finished measurement.

    Args:
        plan: what was asked for.
        record: what was counted.
        about: url, protocol, pictures and what else was sent; no key.
        interrupted: it was stopped early.
        measured_s: how long was measured.
    """

    plan: LoadPlan
    record: Recorder
    about: dict[str, Any]
    interrupted: bool

    @property
    def measured_s(self) -> float:
        """Seconds from the end of the warm-up to the end."""
        return max(0.0, self.record.ends - self.record.begins)

    def rate(self, count: float) -> float:
        """Return a count as a rate over the measured time."""
        return count / self.measured_s if self.measured_s else 0.0

    def corrected(self) -> Histogram | None:
        """Return a closed loop's latencies with those that waiting clients did not send."""
        if self.plan.loop == "open" or not self.record.answered.count:
            return None
        return self.record.answered.corrected(self.record.answered.quantile(0.5))

    def to_json(self) -> dict[str, Any]:
        """Return every figure as plain values; latencies in milliseconds."""
        record, plan = self.record, self.plan
        corrected = self.corrected()
        refused = record.refused.count
        return {
            **self.about,
            "clearsight": __version__,
            "finished_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "loop": plan.loop,
            **({"clients": plan.clients} if plan.rate is None else {"rate": plan.rate}),
            "warm_up_s": plan.warm_up_s,
            "seconds": round(self.measured_s, 3),
            "interrupted": self.interrupted,
            "deadline_s": plan.deadline_s,
            "sent": record.sent,
            "unsent": record.unsent,
            "answered": record.answered.count,
            "late": record.late,
            "refused": refused,
            "refused_with_retry_after": record.retry_after,
            "lost": sum(record.errors.values()) + record.unanswered,
            "answers_per_s": round(self.rate(record.good_in_time), 3),
            "replies_per_s": round(self.rate(record.done_in_time), 3),
            "statuses": dict(record.statuses.most_common()),
            "errors": dict(record.errors.most_common())
            | ({"given up at the end": record.unanswered} if record.unanswered else {}),
            "versions": dict(record.versions.most_common()),
            "answers_naming_several_versions": record.mixed,
            "latency_ms": record.answered.summary_ms(),
            **({} if corrected is None else {"corrected_ms": corrected.summary_ms()}),
            **(
                {"from_send_ms": record.answered_from_send.summary_ms()}
                if plan.loop == "open"
                else {}
            ),
            "refusal_ms": record.refused.summary_ms(),
            "generator": self.generator(),
            "timeline": self.timeline(),
        }

    def generator(self) -> dict[str, Any]:
        """Return what the load generator itself took and how punctual it was."""
        record = self.record
        share = record.cpu_s / self.measured_s if self.measured_s else 0.0
        per_reply = 1000 * record.cpu_s / record.done_in_time if record.done_in_time else 0.0
        return {
            "cpu_s": round(record.cpu_s, 3),
            "cpu_ms_per_reply": round(per_reply, 4),
            "share_of_a_core": round(share, 4),
            "may_be_the_bottleneck": share > BUSY,
            "lag_ms": record.lag.summary_ms(),
        }

    def timeline(self) -> list[list[float]]:
        """Return rows of [second, answers, refusals and failures, slowest answer in ms]."""
        rows = sorted(self.record.timeline.items())[:MOST_TIMELINE]
        return [[second, row[0], row[1], round(row[2] * 1000, 3)] for second, row in rows]

    def lines(self) -> list[str]:
        """Return the figures for a person."""
        value = self.to_json()
        how = f"{self.plan.clients} clients" if self.plan.rate is None else f"{self.plan.rate:g}/s"
        short = " (stopped early)" if self.interrupted else ""
        lines = [
            f"{value['protocol']}, {self.plan.loop} loop, {how}, "
            f"{self.measured_s:.1f} s{short} after {self.plan.warm_up_s:g} s of warm-up",
            f"answers     {value['answers_per_s']:.1f}/s, {value['answered']} of {value['sent']}",
        ]
        if self.plan.deadline_s is not None:
            lines.append(f"late        {value['late']} (deadline {self.plan.deadline_s:g} s)")
        lines += _latency(value, self.plan.loop)
        bad = {name: n for name, n in value["statuses"].items() if name not in ("200", "OK")}
        if bad:
            lines.append("refusals    " + ", ".join(f"{n} x {name}" for name, n in bad.items()))
        if value["refused"]:
            lines.append(
                f"            p99 {value['refusal_ms']['p99']:.1f} ms, "
                f"{value['refused_with_retry_after']} of {value['refused']} with Retry-After"
            )
        lines += [f"lost        {n} x {why}" for why, n in value["errors"].items()]
        if value["unsent"]:
            lines.append(f"not sent    {value['unsent']}: {self.plan.most_open} were open")
        return lines + _versions(value) + _generator(value)


def _latency(value: dict[str, Any], loop: str) -> list[str]:
    def row(name: str, figures: dict[str, Any]) -> str:
        shown = ", ".join(f"{key} {figures[key]:.1f}" for key in ("p50", "p90", "p99", "max"))
        return f"{name:<11} {shown} ms"

    if not value["latency_ms"]["n"]:
        return []
    if loop == "open":
        return [
            row("latency", value["latency_ms"]) + "  (from the moment it was due)",
            row("from send", value["from_send_ms"]),
        ]
    return [
        row("latency", value["latency_ms"]) + "  (as waiting clients see it)",
        row("corrected", value["corrected_ms"]) + "  (as if they had not waited)",
    ]


def _versions(value: dict[str, Any]) -> list[str]:
    lines = [f"version     {name}: {n} answers" for name, n in value["versions"].items()]
    if value["answers_naming_several_versions"]:
        lines.append(f"MIXED       {value['answers_naming_several_versions']} answers name several")
    return lines


def _generator(value: dict[str, Any]) -> list[str]:
    own = value["generator"]
    line = (
        f"generator   {own['cpu_ms_per_reply']:.3f} ms of processor a reply, "
        f"{own['share_of_a_core']:.0%} of a core"
    )
    if value["loop"] == "open" and own["lag_ms"]["n"]:
        line += f", sent {own['lag_ms']['p99']:.1f} ms late (p99)"
    busy = "It is busy itself: the figures may be its own." if own["may_be_the_bottleneck"] else ""
    return [line, *([busy] if busy else [])]
