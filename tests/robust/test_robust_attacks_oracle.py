"""The ensemble against the AutoAttack of ART, on the same network in torch."""

import multiprocessing
import sys

import numpy as np
import pytest

from clearsight.core.seeds import generator
from clearsight.robust.attacked import attack
from clearsight.robust.attacks.apgd_ce import ApgdCe
from clearsight.robust.attacks.apgd_t import ApgdT
from clearsight.robust.attacks.square import Square
from clearsight.testing.soft_network import CLASSES, SIDE, SoftNetwork

torch = pytest.importorskip("torch")
art = pytest.importorskip("art.attacks.evasion")
estimators = pytest.importorskip("art.estimators.classification")
N, RADIUS = 300, 2.0


def in_torch(model):
    class Same(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.into = torch.nn.Parameter(torch.tensor(model.into, dtype=torch.float32))
            self.out = torch.nn.Parameter(torch.tensor(model.out, dtype=torch.float32))

        def forward(self, pixels):
            return torch.tanh((pixels.flatten(1) - 0.5) @ self.into) @ self.out

    return Same()


@pytest.mark.slow
def test_the_ensemble_is_within_a_point_of_arts_autoattack(monkeypatch):
    # ART imports this fork of multiprocessing, which it does not require, and uses it only if told
    monkeypatch.setitem(sys.modules, "multiprocess", multiprocessing)
    model = SoftNetwork(sharpness=0.3)
    images = generator(2, "oracle").integers(0, 256, (N, SIDE, SIDE, 1), dtype=np.uint8)
    labels = model.logits(images.astype(np.float32)).argmax(axis=1)
    attacks = {
        "apgd-ce": ApgdCe(ApgdCe.Config()),
        "apgd-t": ApgdT(ApgdT.Config()),
        "square": Square(Square.Config(queries=5000)),
    }
    ours = attack(model, images, labels, attacks, RADIUS, seed=1).ensemble.mean()
    estimator = estimators.PyTorchClassifier(
        model=in_torch(model),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=(1, SIDE, SIDE),
        nb_classes=CLASSES,
        clip_values=(0, 1),
    )
    theirs = art.AutoAttack(estimator, norm=np.inf, eps=RADIUS / 255, eps_step=RADIUS / 1275)
    pixels = (images / np.float32(255)).transpose(0, 3, 1, 2)
    harmed = theirs.generate(pixels, labels)
    left = (estimator.predict(harmed).argmax(axis=1) == labels).mean()
    assert 0.05 < left < 0.95, "the radius says nothing"
    assert ours == pytest.approx(left, abs=0.01)
