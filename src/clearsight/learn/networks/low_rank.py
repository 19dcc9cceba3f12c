"""Low-rank adapters: a transformer learns through small matrices beside its frozen attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearsight.core.errors import ConfigError

PROJECTIONS = ("qkv", "q", "k", "v", "kv", "proj", "q_proj", "k_proj", "v_proj", "out_proj")


class LowRank(nn.Module):
    """A frozen linear layer W plus (alpha / rank) * up @ down, where only `up` and `down` learn.

    Args:
        base: the layer; its weights are frozen.
        rank: of the change.
        alpha: strength of the change.

    Source:
        LoRA: Hu et al., Low-Rank Adaptation of Large Language Models (2021), section 4.1.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        """The changed matrix; some attention layers use it without calling the layer."""
        return self.base.weight + self.scale * self.up @ self.down

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return self.base(x) + self.scale * F.linear(F.linear(x, self.down), self.up)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return one plain linear layer that does the same."""
        self.base.weight.copy_(self.weight)
        return self.base


def attention_layers(model: nn.Module) -> list[str]:
    """Return the names of the linear layers that project into and out of attention."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.rpartition(".")[2] in PROJECTIONS
        and "attn" in name.rpartition(".")[0]
    ]


def check_adaptable(model: nn.Module, name: str) -> None:
    """Accept a model that adapters can be put into.

    Raises:
        ConfigError: it has no attention made of linear layers.
    """
    if not attention_layers(model):
        raise ConfigError(
            f"{name} has no attention layers that adapters could go beside. Leave out "
            "family.adapters, or choose a transformer, for example --model vit_tiny_patch16_224 "
            "or swin_tiny_patch4_window7_224."
        )


def add_adapters(model: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Freeze a model and put an adapter beside every attention projection.

    Args:
        model: changed in place; nothing but the adapters needs gradients afterwards.
        rank, alpha: see `LowRank`.
        seed: decides the first values of `down`; `up` starts at 0, so nothing changes at first.
    """
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in attention_layers(model):
            base = model.get_submodule(name)
            assert isinstance(base, nn.Linear)
            _put(model, name, LowRank(base, rank, alpha))


def merge_adapters(model: nn.Module) -> None:
    """Replace every adapted layer by a plain one that does the same."""
    adapted = [name for name, module in model.named_modules() if isinstance(module, LowRank)]
    for name in adapted:
        layer = model.get_submodule(name)
        assert isinstance(layer, LowRank)
        _put(model, name, layer.merged())


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
