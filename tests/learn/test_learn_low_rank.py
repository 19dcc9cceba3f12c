"""Adapters start as nothing, learn alone, and merge into what they were beside."""

from __future__ import annotations

import pytest
import torch

from clearsight.core.errors import ConfigError
from clearsight.learn.networks.low_rank import (
    LowRank,
    add_adapters,
    attention_layers,
    check_adaptable,
    merge_adapters,
)
from clearsight.learn.networks.timm_sides import create


def test_it_is_the_formula() -> None:
    layer = LowRank(torch.nn.Linear(6, 5), rank=2, alpha=3.0)
    torch.nn.init.normal_(layer.up)
    x = torch.randn(4, 6)
    wanted = layer.base(x) + 3.0 / 2 * (x @ layer.down.T) @ layer.up.T
    torch.testing.assert_close(layer(x), wanted)
    torch.testing.assert_close(torch.nn.functional.linear(x, layer.weight, layer.bias), wanted)
    torch.testing.assert_close(layer.merged()(x), wanted)


def test_nothing_changes_at_first_and_merging_changes_nothing() -> None:
    torch.manual_seed(0)
    model = create("vit_tiny_patch16_224", 32, 3).eval()
    pixels = torch.randn(2, 3, 32, 32)
    names = set(model.state_dict())
    with torch.no_grad():
        plain = model(pixels)
        add_adapters(model, rank=4, alpha=8.0, seed=1)
        torch.testing.assert_close(model(pixels), plain)
        for module in model.modules():
            if isinstance(module, LowRank):
                torch.nn.init.normal_(module.up, std=0.1)
        changed = model(pixels)
        assert not torch.allclose(changed, plain, atol=1e-3)
        merge_adapters(model)
        torch.testing.assert_close(model(pixels), changed, atol=1e-4, rtol=1e-4)
    assert set(model.state_dict()) == names


def test_only_adapters_get_gradients() -> None:
    model = create("swin_tiny_patch4_window7_224", 64, 3)
    layers = len(attention_layers(model))
    assert layers == 2 * 12
    add_adapters(model, rank=2, alpha=4.0, seed=0)
    learning = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(learning) == 2 * layers
    assert all(name.endswith((".up", ".down")) for name in learning)


def test_the_seed_decides() -> None:
    made = []
    for seed in (1, 1, 2):
        model = create("vit_tiny_patch16_224", 32, 3)
        add_adapters(model, rank=2, alpha=4.0, seed=seed)
        made.append(model.get_submodule("blocks.0.attn.qkv").down.detach())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(ConfigError, match="no attention layers"):
        check_adaptable(create("resnet18", None, 2, "meta"), "resnet18")
