"""What every loss in `learn/losses/` must satisfy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from clearsight.core.config import Config
from clearsight.core.nouns import Task
from clearsight.learn.losses import LOSSES
from clearsight.testing.contract import Contract
from clearsight.testing.option_values import other_options

CLASSES = 5
EVEN, UNEVEN, ZEROS = (3,) * CLASSES, (100, 30, 9, 3, 1), (40, 0, 7, 0, 1)
START, END = 0.0, 1.0


class LossContract(Contract):
    """Clauses every loss satisfies; an implementation is the loss's class."""

    registry = LOSSES

    def check_worked_example(self, loss: Any) -> None:
        """`worked_example` (logits, labels, value by hand) comes out, and a source is named."""
        logits, labels, value = loss.worked_example
        got = loss(loss.Config(), (1,) * len(logits[0]))(
            torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)
        )
        assert abs(float(got) - value) < 1e-9
        assert "Source:" in (loss.__doc__ or "")

    def check_gradient(self, loss: Any) -> None:
        """The gradient is that of the value in float64, early and late, also with empty classes."""
        for counts in (EVEN, UNEVEN, ZEROS):
            measure = loss(loss.Config(), counts)
            for progress in (START, END):
                for logits, labels in batches(loss, counts):
                    value = _of_logits(measure, labels, progress)
                    assert torch.autograd.gradcheck(value, logits.requires_grad_())

    def check_finite_at_extremes(self, loss: Any) -> None:
        """Value and gradient are finite at logits of +-10,000, right and wrong."""
        for counts in (EVEN, UNEVEN, ZEROS):
            present = [number for number, count in enumerate(counts) if count]
            logits = torch.full((2, CLASSES), -1e4)
            logits[0, present[0]] = logits[1, present[1]] = 1e4
            labels = torch.tensor([present[0], present[-1]])  # right, wrong
            for truth in (labels, *_several(loss, labels)):
                _assert_finite(loss(loss.Config(), counts), logits, truth)

    def check_one_class(self, loss: Any) -> None:
        """A single class is no reason to fail."""
        labels = torch.zeros(3, dtype=torch.int64)
        for truth in (labels, *_several(loss, labels, classes=1)):
            _assert_finite(loss(loss.Config(), (3,)), torch.randn(3, 1), truth)

    def check_order_of_the_batch(self, loss: Any) -> None:
        """Another order of the batch gives the same value."""
        for logits, labels in batches(loss):
            measure, order = loss(loss.Config(), UNEVEN), torch.tensor([3, 1, 5, 0, 4, 2])
            difference = measure(logits, labels) - measure(logits[order], labels[order])
            assert abs(float(difference)) < 1e-9

    def check_right_costs_less_than_wrong(self, loss: Any) -> None:
        """A confident right answer costs less than a confident wrong one."""
        measure, logits = loss(loss.Config(), EVEN), torch.eye(CLASSES)[:1] * 5
        right, wrong = torch.tensor([0]), torch.tensor([1])
        assert float(measure(logits, right)) < float(measure(logits, wrong))
        for several, other in zip(_several(loss, right), _several(loss, wrong), strict=True):
            assert float(measure(logits, several)) < float(measure(logits, other))

    def check_balances_claim(self, loss: Any) -> None:
        """`balances` is claimed if and only if the class counts change the value."""
        logits, labels = batches(loss)[0]
        even, uneven = (
            float(loss(loss.Config(), counts)(logits, labels, END)) for counts in (EVEN, UNEVEN)
        )
        assert loss.balances == (abs(even - uneven) > 1e-9)

    def check_every_option_counts(self, loss: Any) -> None:
        """Another value of any option gives another loss, early or late: none does nothing."""
        logits, labels = batches(loss)[0]
        for name, config in other_options(loss.Config).items():
            values = [
                float(loss(each, UNEVEN)(logits, labels, progress))
                for progress in (START, 0.7, END)
                for each in (loss.Config(), config)
            ]
            assert values[0::2] != values[1::2], f"option {name!r} does nothing"

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        entropy = torch.nn.functional.cross_entropy

        def naive(logits: Tensor, labels: Tensor) -> Tensor:
            return -torch.log(torch.exp(logits)[range(len(labels)), labels]).mean()

        def against_others(logits: Tensor, labels: Tensor) -> Tensor:
            own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
            return logits.masked_fill(own, -torch.inf).logsumexp(1).mean() - logits[own].mean()

        return {
            "check_worked_example": _planted(lambda z, y: 2 * entropy(z, y)),
            "check_gradient": _planted(lambda z, y: entropy(z, y) + z.detach().sum()),
            "check_finite_at_extremes": _planted(naive),
            "check_one_class": _planted(against_others),
            "check_order_of_the_batch": _planted(lambda z, y: entropy(z[:3], y[:3])),
            "check_right_costs_less_than_wrong": _planted(lambda z, y: -entropy(z, y)),
            "check_balances_claim": _planted(entropy, balances=True),
            "check_every_option_counts": _planted(entropy),
        }


def batches(loss: Any, counts: Sequence[int] = EVEN, n: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Return float64 (logits, labels) of classes that have pictures, in each form the loss takes.

    Args:
        loss: its `tasks` decide; the first form has one label a picture.
        counts: pictures per class.
        n: pictures a batch.
    """
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(n, CLASSES, generator=random, dtype=torch.float64)
    present = [number for number, count in enumerate(counts) if count]
    labels = torch.tensor([present[number % len(present)] for number in range(n)])
    return [(logits.clone(), truth) for truth in (labels, *_several(loss, labels))]


def _several(loss: Any, labels: Tensor, classes: int = CLASSES) -> list[Tensor]:
    """Return (n, classes) labels, the first picture's all 0, if the loss takes such."""
    if "multi-label" not in loss.tasks:
        return []
    rows = torch.nn.functional.one_hot(labels, classes)
    if len(rows) > 2:
        rows[0] = 0
        rows[1, classes // 2] = 1
    return [rows]


def _of_logits(measure: Any, labels: Tensor, progress: float) -> Callable[[Tensor], Any]:
    return lambda logits: measure(logits, labels, progress)


def _assert_finite(measure: Any, logits: Tensor, labels: Tensor) -> None:
    for progress in (START, END):
        leaf = logits.clone().requires_grad_()
        value = measure(leaf, labels, progress)
        value.backward()
        assert leaf.grad is not None
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(leaf.grad).all())


def _planted(value: Callable[[Tensor, Tensor], Tensor], balances: bool = False) -> type:
    claim = balances

    class Planted:
        """A loss with a defect. Source: none."""

        Config: ClassVar[type[Config]] = LOSSES.load("cross-entropy").Config
        tasks: ClassVar[tuple[Task, ...]] = ("single-label",)
        balances: ClassVar[bool] = claim
        worked_example: ClassVar[Any] = LOSSES.load("cross-entropy").worked_example

        def __init__(self, config: Any, class_counts: Sequence[int]) -> None:
            self.config = config

        def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0.0) -> Tensor:
            return value(logits, labels)

    return Planted
