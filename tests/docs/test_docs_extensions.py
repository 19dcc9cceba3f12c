"""The code on every "Add a ..." page is run against the contract that the page names."""

import json
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from clearsight.convert.source import Wanted
from clearsight.core.registry import camel
from clearsight.testing.attack_contract import AttackContract
from clearsight.testing.augment_contract import AugmentContract
from clearsight.testing.averaging_contract import AveragingContract
from clearsight.testing.check_contract import CheckContract
from clearsight.testing.corruption_contract import CorruptionContract
from clearsight.testing.deformation_contract import DeformationContract
from clearsight.testing.descriptor_contract import DescriptorContract
from clearsight.testing.encoder_contract import EncoderContract
from clearsight.testing.explainer_contract import ExplainerContract
from clearsight.testing.hardening_contract import HardeningContract
from clearsight.testing.metric_contract import MetricContract
from clearsight.testing.mix_contract import MixContract
from clearsight.testing.optimizer_contract import OptimizerContract
from clearsight.testing.reader_contract import ReaderContract
from clearsight.testing.sampler_contract import SamplerContract
from clearsight.testing.schedule_contract import ScheduleContract
from clearsight.testing.source_contract import Example, SourceContract

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import check_docs  # noqa: E402


def block_of(page, stem):
    """Load the page's first Python block as the module `stem`; return what it must define."""
    blocks = check_docs.read_page(ROOT / "docs/how-to" / page).blocks
    code = next(block.text for block in blocks if block.language == "python")
    module = types.ModuleType(stem)
    sys.modules[stem] = module
    exec(compile(code, page, "exec"), vars(module))
    return vars(module).get(camel(stem)) or vars(module)[stem]


@pytest.mark.parametrize("clause", MetricContract().clauses())
def test_add_a_metric(clause):
    MetricContract().run(clause, block_of("add-a-metric.md", "my_top_two"))


@pytest.mark.parametrize("clause", HardeningContract().clauses())
def test_add_a_hardening(clause):
    HardeningContract().run(clause, block_of("add-a-hardening.md", "my_patch"))


@pytest.mark.parametrize("clause", ExplainerContract().clauses())
def test_add_an_explainer(clause):
    ExplainerContract().run(clause, block_of("add-an-explainer.md", "my_slopes"))


@pytest.mark.parametrize("clause", CheckContract().clauses())
def test_add_a_check(clause):
    CheckContract().run(clause, block_of("add-a-check.md", "my_few_pictures"))


def labels_file(root):
    (root / "pictures").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (4, 3), (number, 0, 0)).save(root / "pictures" / f"{number}.png")
    (root / "labels.txt").write_text("pictures/0.png cat\npictures/1.png 犬\n", "utf-8")
    return root


class ReaderContractWithOneMore(ReaderContract):
    examples: ClassVar = {"my-labels-file": labels_file}


@pytest.mark.parametrize("clause", ReaderContract().clauses())
def test_add_a_reader(clause):
    ReaderContractWithOneMore().run(clause, block_of("add-a-reader.md", "my_labels_file"))


def test_add_an_engine():
    contract = pytest.importorskip("clearsight.testing.engine_contract").EngineContract()
    engine = block_of("add-an-engine.md", "my_engine")
    for name in contract.clauses():
        contract.run(name, engine)


def test_add_a_loss():
    contract = pytest.importorskip("clearsight.testing.loss_contract").LossContract()
    loss = block_of("add-a-loss.md", "my_focal")
    for name in contract.clauses():
        contract.run(name, loss)


@pytest.mark.parametrize("clause", SamplerContract().clauses())
def test_add_a_sampler(clause):
    SamplerContract().run(clause, block_of("add-a-sampler.md", "my_capped"))


@pytest.mark.parametrize(
    ("page", "contract", "stem"),
    [
        ("add-an-optimizer.md", OptimizerContract(), "my_heavy_ball"),
        ("add-a-schedule.md", ScheduleContract(), "my_trapezoid"),
        ("add-an-averaging.md", AveragingContract(), "my_tail"),
    ],
)
def test_add_a_part_of_training(page, contract, stem):
    for clause in contract.clauses():
        contract.run(clause, block_of(page, stem))


@pytest.mark.parametrize("clause", AugmentContract().clauses())
def test_add_an_augmentation(clause):
    AugmentContract().run(clause, block_of("add-an-augmentation.md", "my_blackout"))


@pytest.mark.parametrize("clause", MixContract().clauses())
def test_add_a_mix(clause):
    MixContract().run(clause, block_of("add-a-mix.md", "my_halves"))


def test_add_a_head():
    contract = pytest.importorskip("clearsight.testing.head_contract").HeadContract()
    head = block_of("add-a-head.md", "my_means")
    for name in contract.clauses():
        contract.run(name, head)


@pytest.mark.parametrize(
    ("page", "contract", "stem"),
    [
        ("add-a-descriptor.md", DescriptorContract(), "my_stripes"),
        ("add-an-encoder.md", EncoderContract(), "my_sum"),
    ],
)
def test_add_a_part_of_a_classical_recognizer(page, contract, stem):
    for clause in contract.clauses():
        contract.run(clause, block_of(page, stem))


@pytest.mark.parametrize(
    ("page", "contract", "stem"),
    [
        ("add-a-corruption.md", CorruptionContract(), "my_scratches"),
        ("add-a-deformation.md", DeformationContract(), "my_wave"),
        ("add-an-attack.md", AttackContract(), "my_nudges"),
    ],
)
def test_add_a_kind_of_stress(page, contract, stem):
    for clause in contract.clauses():
        contract.run(clause, block_of(page, stem))


def raw_model(folder):
    """An example of the page's format."""
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    weight = np.random.default_rng(1).normal(size=(48, 4)).astype(np.float32)
    path = folder / "small.rawmodel"
    path.write_text(json.dumps({"side": 4, "weight": weight.tolist()}))
    scores = images.reshape(3, -1).astype(np.float32) / 255 @ weight
    return Example(str(path), Wanted(4), {"range": "0-1"}, images, lambda: scores)


class SourceContractWithOneMore(SourceContract):
    examples: ClassVar = {"my-raw": raw_model}


@pytest.mark.parametrize("clause", SourceContract().clauses())
def test_add_an_import_format(clause):
    SourceContractWithOneMore().run(clause, block_of("add-an-import-format.md", "my_raw"))


PAGES = sorted(path.name for path in (ROOT / "docs/how-to").glob("add-a*.md"))


def test_there_is_a_page_for_every_kind():
    kinds = {page.removeprefix("add-").removesuffix(".md").split("-", 1)[1] for page in PAGES}
    assert kinds == {
        "attack",
        "augmentation",
        "averaging",
        "check",
        "corruption",
        "deformation",
        "descriptor",
        "encoder",
        "engine",
        "explainer",
        "hardening",
        "head",
        "import-format",
        "loss",
        "metric",
        "mix",
        "model-family",
        "optimizer",
        "protocol",
        "reader",
        "sampler",
        "schedule",
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_page_names_the_contract_to_run(page):
    text = (ROOT / "docs/how-to" / page).read_text(encoding="utf-8")
    (named,) = {word for word in text.split() if word.startswith("tests/contracts/")}
    assert (ROOT / named).is_file()
