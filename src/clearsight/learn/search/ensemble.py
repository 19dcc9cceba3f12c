"""Several trained recognizers joined into one graph, where validation says that it is worth it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import WeightLicence
from clearsight.core.calibration import fit_temperature, probabilities
from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC, Preprocessing, Scores
from clearsight.core.seeds import generator
from clearsight.learn.choose import Candidate
from clearsight.learn.contest import Contest, Trained
from clearsight.learn.family import Capabilities, Facts, Fitted, Job
from clearsight.learn.onnx_graph import LOGITS
from clearsight.learn.search.verdict import merits, worse

KEY = "ensemble"
ROUNDS = 20
TIMED_PICTURES, TIMED_PASSES = 64, 3

Weights = list[float]


class EnsembleConfig(Config):
    """What an ensemble is made of; told in the Bundle.

    Args:
        members: family, weight and options of each.
    """

    members: tuple[dict[str, Any], ...]


class Ensemble:
    """Stands where a trained candidate names its family; it is joined, not trained."""

    Config: ClassVar[type[Config]] = EnsembleConfig
    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(self, config: EnsembleConfig) -> None:
        self.config = config

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Refuse: an ensemble takes the input of its members."""
        raise NotImplementedError

    def fit(self, job: Job) -> Fitted:
        """Refuse: an ensemble is joined from trained members."""
        raise NotImplementedError


@dataclass(frozen=True)
class FittedEnsemble:
    """The weighted mean of the members' calibrated log-probabilities.

    Args:
        members: trained on the same input.
        weights: of each; positive, their sum is 1.
        story: JSON-ready.
    """

    members: tuple[Trained, ...]
    weight: Weights
    story: dict[str, Any]
    outputs: tuple[str, ...] = (LOGITS,)

    @property
    def steps(self) -> bool:
        """Whether scores change in steps."""
        return any(each.fitted.steps for each in self.members)

    @property
    def licences(self) -> tuple[WeightLicence, ...]:
        """Every licence of the members' weights, once."""
        every = [licence for each in self.members for licence in each.fitted.licences]
        return tuple(licence for n, licence in enumerate(every) if licence not in every[:n])

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 scores."""
        told = [
            _log_probabilities(each.fitted.logits(images_nhwc), each.temperature)
            for each in self.members
        ]
        return _blend(told, self.weight)

    def onnx_model(self) -> bytes:
        """Return the members' graphs joined into one."""
        models = [each.fitted.onnx_model() for each in self.members]
        return join_models(models, [each.temperature for each in self.members], self.weight)

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays of all members."""
        return {
            f"member{number}.{name}": value
            for number, each in enumerate(self.members)
            for name, value in each.fitted.weights().items()
        }


def ensemble(
    best: Trained, others: Sequence[Trained], contest: Contest, most_cost: float
) -> Trained | None:
    """Return the best recognizer joined with others, or None where that is not worth it.

    Weights are chosen greedily on validation. The gain is measured on pictures that did not
    choose the weights (two halves, each judged by the other's weights) and must be more than
    chance; and the joined answer may be worse on no count than the best alone.

    Args:
        best: the best one alone.
        others: who may join; those with another input are passed over.
        contest: where they were trained.
        most_cost: most time that the joined one may take to answer, in times of the best alone.

    Source:
        Caruana et al. 2004, "Ensemble Selection from Libraries of Models" (greedy, with
        replacement); logarithmic opinion pool: Genest and Zidek 1986.
    """
    able = [
        each
        for each in others
        if each.preprocessing == best.preprocessing and np.array_equal(each.val.kept, best.val.kept)
    ]
    if contest.facts.task != "single-label" or not able:
        return None
    members = [best, *able]
    told = [_log_probabilities(each.val_logits, each.temperature) for each in members]
    costs = _costs(members)
    labels = best.val.labels
    weights = _select(told, labels, costs, most_cost)
    if sum(weight > 0 for weight in weights) < 2:
        return None
    alone = merits(told[0], labels, best.balanced)
    crossed = merits(_crossed(told, labels, costs, most_cost, contest), labels, best.balanced)
    joined = merits(_blend(told, weights), labels, best.balanced)
    gain = float(crossed.sum() - alone.sum())
    if not worse(alone, crossed) or joined.sum() < alone.sum():
        contest.progress.say("No ensemble", reason="it is not better by more than chance")
        return None
    chosen = [(each, weight) for each, weight in zip(members, weights, strict=True) if weight]
    cost = _cost(weights, costs) / costs[0]
    return _joined(best, chosen, contest, {"gain": gain, "cost": cost})


def _joined(
    best: Trained,
    chosen: list[tuple[Trained, float]],
    contest: Contest,
    figures: dict[str, float],
) -> Trained:
    told = [
        {
            "family": each.candidate.key,
            "weight": round(weight, 4),
            "config": each.family.config.model_dump(mode="json") if each.family else {},
        }
        for each, weight in chosen
    ]
    story = {
        "members": [{k: v for k, v in one.items() if k != "config"} for one in told],
        **{name: round(value, 4) for name, value in figures.items()},
    }
    members, weights = tuple(each for each, _ in chosen), [weight for _, weight in chosen]
    fitted = FittedEnsemble(members, weights, story)
    logits = _blend([_log_probabilities(e.val_logits, e.temperature) for e in members], weights)
    task, labels = contest.facts.task, best.val.labels
    temperature = fit_temperature(logits, labels)
    judged = contest.seams.judge(
        probabilities(logits, temperature, task), labels, contest.facts.classes, task
    )
    reason = f"{100 * figures['gain']:.2f} points better on validation than its best member"
    return replace(
        best,
        candidate=Candidate(KEY, reason=reason),
        family=Ensemble(EnsembleConfig(members=tuple(told))),
        fitted=fitted,
        val_logits=logits,
        temperature=temperature,
        figures=judged,
        seconds=sum(each.seconds for each in members),
    )


def _select(
    told: Sequence[Scores], labels: NDArray[np.int64], costs: Sequence[float], most_cost: float
) -> Weights:
    """Return weights: the first member, then again and again whoever lowers the log-loss most."""
    own = np.arange(len(labels))
    counts = [1, *([0] * (len(told) - 1))]
    for _ in range(ROUNDS):
        losses = {}
        for number in range(len(told)):
            trial = [count + (n == number) for n, count in enumerate(counts)]
            if _cost(trial, costs) <= most_cost * costs[0]:
                pooled = _log_probabilities(_blend(told, _shares(trial)), 1.0)
                losses[number] = -float(pooled[own, labels].mean())
        counts[min(losses, key=lambda number: losses[number])] += 1
    return _shares(counts)


def _crossed(
    told: Sequence[Scores],
    labels: NDArray[np.int64],
    costs: Sequence[float],
    most_cost: float,
    contest: Contest,
) -> Scores:
    """Return pooled scores, those of each half of the pictures with the other half's weights."""
    halves = generator(contest.settings.seed, KEY).permutation(len(labels)) % 2 == 0
    pooled = np.empty_like(told[0])
    for half in (halves, ~halves):
        weights = _select([scores[~half] for scores in told], labels[~half], costs, most_cost)
        pooled[half] = _blend([scores[half] for scores in told], weights)
    return pooled


def _costs(members: Sequence[Trained]) -> list[float]:
    """Return the seconds each takes for some pictures: the least of a few passes."""
    costs = []
    for each in members:
        images = np.asarray(each.val.images[:TIMED_PICTURES])
        durations_s = []
        for _ in range(TIMED_PASSES + 1):
            began = time.perf_counter()
            each.fitted.logits(images)
            durations_s.append(time.perf_counter() - began)
        costs.append(min(durations_s[1:]))
    return costs


def _cost(weights: Sequence[float], costs: Sequence[float]) -> float:
    return sum(cost for weight, cost in zip(weights, costs, strict=True) if weight)


def _shares(counts: Sequence[int]) -> Weights:
    return [count / sum(counts) for count in counts]


def _log_probabilities(logits: Scores, temperature: float) -> Scores:
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    told = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return np.asarray(told, dtype=np.float32)


def _blend(told: Sequence[Scores], weights: Sequence[float]) -> Scores:
    parts = [weight * scores for weight, scores in zip(weights, told, strict=True) if weight]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float32)


def join_models(
    models: Sequence[bytes], temperatures: Sequence[float], weights: Sequence[float]
) -> bytes:
    """Return one ONNX model: the weighted mean of the models' calibrated log-probabilities.

    Args:
        models: uint8 NHWC "images" of one shape -> "logits" (other outputs are left out).
        temperatures, weights: of each.
    """
    from onnx import checker, compose, helper, load_from_string, numpy_helper

    parts = [
        compose.add_prefix(load_from_string(model), f"member{number}.", rename_inputs=False)
        for number, model in enumerate(models)
    ]
    first = parts[0]
    nodes, constants, scores = [], [], []
    for number, (part, temperature, weight) in enumerate(
        zip(parts, temperatures, weights, strict=True)
    ):
        name = f"member{number}.{LOGITS}"
        nodes += list(part.graph.node)
        constants += list(part.graph.initializer)
        for kind, value in (("temperature", temperature), ("weight", weight)):
            array = np.asarray(value, dtype=np.float32)
            constants.append(numpy_helper.from_array(array, f"{name}.{kind}"))
        nodes += [
            helper.make_node("Div", [name, f"{name}.temperature"], [f"{name}.scaled"]),
            helper.make_node("LogSoftmax", [f"{name}.scaled"], [f"{name}.log"], axis=1),
            helper.make_node("Mul", [f"{name}.log", f"{name}.weight"], [f"{name}.part"]),
        ]
        scores.append(f"{name}.part")
    nodes.append(helper.make_node("Sum", scores, [LOGITS]))
    output = next(out for out in first.graph.output if out.name == f"member0.{LOGITS}")
    output.name = LOGITS
    graph = helper.make_graph(nodes, "ensemble", list(first.graph.input), [output], constants)
    domains = {(item.domain, item.version) for part in parts for item in part.opset_import}
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*item) for item in sorted(domains)],
        ir_version=max(part.ir_version for part in parts),
    )
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content
