"""What every loss in `learn/losses/` must satisfy."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from clearsight.core.config import Config
from clearsight.learn.losses import LOSSES
from clearsight.testing.contract import Contract

CLASSES = 5


def _batch(n: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(n, CLASSES, generator=random, dtype=torch.float64)
    return logits, torch.arange(n) % CLASSES


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
        """The gradient is that of the value, in float64."""
        logits, labels = _batch()
        measure = loss(loss.Config(), (3,) * CLASSES)
        assert torch.autograd.gradcheck(lambda z: measure(z, labels), logits.requires_grad_())

    def check_finite_at_extremes(self, loss: Any) -> None:
        """Value and gradient are finite at logits of +-10,000, right and wrong."""
        logits = torch.full((2, CLASSES), -1e4).fill_diagonal_(1e4).requires_grad_()
        value = loss(loss.Config(), (3,) * CLASSES)(logits, torch.tensor([0, 3]))
        value.backward()
        assert logits.grad is not None
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(logits.grad).all())

    def check_order_of_the_batch(self, loss: Any) -> None:
        """Another order of the batch gives the same value."""
        logits, labels = _batch()
        measure, order = loss(loss.Config(), (3,) * CLASSES), torch.tensor([3, 1, 5, 0, 4, 2])
        difference = measure(logits, labels) - measure(logits[order], labels[order])
        assert abs(float(difference)) < 1e-9

    def check_right_costs_less_than_wrong(self, loss: Any) -> None:
        """A confident right answer costs less than a confident wrong one."""
        measure, logits = loss(loss.Config(), (3,) * CLASSES), torch.eye(CLASSES)[:1] * 5
        assert float(measure(logits, torch.tensor([0]))) < float(measure(logits, torch.tensor([1])))

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""

        def planted(value: Any) -> type:
            class Planted:
                """A loss with a defect. Source: none."""

                Config: ClassVar[type[Config]] = LOSSES.load("cross-entropy").Config
                worked_example: ClassVar[Any] = LOSSES.load("cross-entropy").worked_example

                def __init__(self, config: Any, class_counts: Any) -> None:
                    self.config = config

                def __call__(self, logits: Tensor, labels: Tensor, progress: float = 0) -> Tensor:
                    result: Tensor = value(logits, labels)
                    return result

            return Planted

        entropy = torch.nn.functional.cross_entropy

        def naive(logits: Tensor, labels: Tensor) -> Tensor:
            return -torch.log(torch.exp(logits)[range(len(labels)), labels]).mean()

        return {
            "check_worked_example": planted(lambda z, y: 2 * entropy(z, y)),
            "check_gradient": planted(lambda z, y: entropy(z, y) + z.detach().sum()),
            "check_finite_at_extremes": planted(naive),
            "check_order_of_the_batch": planted(lambda z, y: entropy(z[:3], y[:3])),
            "check_right_costs_less_than_wrong": planted(lambda z, y: -entropy(z, y)),
        }
