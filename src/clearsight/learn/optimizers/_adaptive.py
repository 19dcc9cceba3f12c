"""Adam with weight decay in the gradient or apart from it."""

from __future__ import annotations

import torch

from clearsight.learn.optimizers import Groups
from clearsight.learn.optimizers._stepper import PlainStepper, Tensors


class AdaptiveStepper(PlainStepper):
    """Adam; with `decoupled` weight decay AdamW.

    Args:
        groups: parameter groups with "params", "lr" and "weight_decay".
        betas: of the running means of gradients and squared gradients.
        eps: added to the root of the mean square.
        decoupled: weight decay shrinks the weights instead of joining the gradient.

    Source:
        Kingma and Ba, Adam (2015), algorithm 1; Loshchilov and Hutter, Decoupled Weight Decay
        Regularization (2019), algorithm 2.
    """

    def __init__(
        self,
        groups: Groups,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decoupled: bool = True,
    ) -> None:
        super().__init__(groups)
        self.betas, self.eps, self.decoupled = betas, eps, decoupled

    def move(self, weights: Tensors, gradients: Tensors, lr: float, decay: float) -> None:
        """Move the weights of one group."""
        fast, slow = self.betas
        if decay and not self.decoupled:
            gradients = list(torch._foreach_add(gradients, weights, alpha=decay))
        counts = self.counted(weights)
        means, squares = self.held(weights, "mean"), self.held(weights, "square")
        torch._foreach_lerp_(means, gradients, 1 - fast)
        torch._foreach_mul_(squares, slow)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - slow)
        roots = torch._foreach_div(squares, [1 - slow**count for count in counts])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, self.eps)
        if decay and self.decoupled:
            torch._foreach_mul_(weights, 1 - lr * decay)
        steps = [-lr / (1 - fast**count) for count in counts]
        torch._foreach_addcdiv_(weights, means, roots, steps)
