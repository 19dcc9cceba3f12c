"""Trains the same recognizer without hardening, to say what hardening costs on clean pictures."""

from __future__ import annotations

import time
from dataclasses import replace

from clearsight.core.errors import ClearsightError, InterruptedRun
from clearsight.learn.contest import Contest, Trained
from clearsight.learn.family import Budget
from clearsight.learn.hardened import Side, price, slowdown
from clearsight.learn.settings import TrainSettings

PRICE_SHARE = 0.1
"""Part of the time that the recognizer without hardening may take."""
FOLDER = "standard"
UNKNOWN = "The price of hardening could not be measured"


def price_s(settings: TrainSettings) -> float:
    """Return the seconds kept back to measure the price of hardening; 0 without hardening.

    Example:
        >>> price_s(TrainSettings.parse({"time_s": 60, "harden": "pgd"}))
        6.0
    """
    if settings.harden is None or settings.time_s is None:
        return 0.0
    return PRICE_SHARE * settings.time_s


def with_price(contest: Contest, best: Trained, end: float | None) -> Trained:
    """Return the hardened recognizer with "price" among what is told of its hardening.

    The same family with the same settings learns once more without hardening: for as many passes,
    or in `PRICE_SHARE` of the time (it needs fewer forward passes, so it sees the pictures about
    as often as an adversarially trained one). Where that fails, or time is too short for one pass,
    the price is left out, and that is said.

    Args:
        contest: where it was trained.
        best: the hardened recognizer; returned as it is where it is not hardened.
        end: `time.monotonic()` by which the price must be known, or None.
    """
    if best.hardened is None:
        return best
    late = end is not None and end - time.monotonic() < price_s(contest.settings) / 2
    if late:
        contest.progress.say(UNKNOWN, reason="the hardened recognizer took the time for it")
        return best
    settings = contest.settings.model_copy(update={"harden": None})
    facts = contest.facts
    if facts.time_s is not None:  # it takes pictures of the size that the hardened one takes
        slower = slowdown(best.candidate, contest.settings.harden, facts.task)
        facts = replace(facts, time_s=facts.time_s / slower)
    plain = replace(contest, settings=settings, facts=facts)
    began = time.monotonic()
    try:
        standard = plain.train(best.candidate, Budget(end, settings.epochs), FOLDER)
    except InterruptedRun:
        raise
    except ClearsightError as error:
        contest.progress.say(UNKNOWN, reason=str(error))
        return best
    if standard.fitted.story.get("epochs", 1.0) < min(1.0, settings.epochs or 1.0):
        contest.progress.say(UNKNOWN, reason="too little time for a pass without hardening")
        return best
    told = price(Side(standard.val_logits, standard.val), Side(best.val_logits, best.val))
    told["standard_seconds"] = round(time.monotonic() - began, 2)
    contest.progress.say(f"Hardening costs {told['points']} points on clean pictures", **told)
    return replace(best, hardened={**best.hardened, "price": told})
