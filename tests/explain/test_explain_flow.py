"""From a Bundle and pictures to explanations: methods, folder, JSON, sheet, command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from clearsight import api
from clearsight.cli.main import app
from clearsight.core.errors import ConfigError, UsageError
from clearsight.engines.open import open_predictor
from clearsight.explain.explain import ask, make_explainer
from clearsight.explain.subject import subject_of
from clearsight.explain.weights_check import check_weights
from clearsight.testing.model_bundle import write_model_bundle
from clearsight.testing.small_network import SmallNetwork, noise_images

OUTPUTS = ("logits", "embedding", "features")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A RUN around a small network: mean of features, linear head, weights beside it."""
    network = SmallNetwork()
    write_model_bundle(
        tmp_path / "run" / "bundle",
        network.onnx_model(),
        noise_images(4),
        OUTPUTS,
        network.weights,
    )
    return tmp_path / "run"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(noise_images(3, seed=8)):
        large = cv2.resize(image, (40, 24), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(folder / f"{number}.png"), large)
    return folder


def test_cam_is_found_without_torch_and_is_exact(run: Path) -> None:
    subject = subject_of(open_predictor(run))
    assert subject.evidence is not None
    images = noise_images(2, seed=5)
    question = ask(int, subject.scores(images))
    maps = subject.evidence(images, question)
    network = SmallNetwork()
    wanted = np.einsum(
        "nkhw,nk->nhw", network.outputs(images)["features"],
        network.weights["matrix"].T[question.labels],
    )  # fmt: skip
    assert np.allclose(maps, wanted, atol=1e-4)
    scores = network.logits(images)[np.arange(2), question.labels]
    assert np.allclose(maps.mean(axis=(1, 2)), scores, atol=1e-3)


def test_cam_is_not_claimed_for_another_head(run: Path, tmp_path: Path) -> None:
    network = SmallNetwork()
    wrong = network.weights | {"matrix": network.weights["matrix"][::-1].copy()}
    write_model_bundle(tmp_path / "w", network.onnx_model(), noise_images(4), OUTPUTS, wrong)
    assert subject_of(open_predictor(tmp_path / "w")).evidence is None
    write_model_bundle(tmp_path / "n", network.onnx_model(), noise_images(4), OUTPUTS)
    assert subject_of(open_predictor(tmp_path / "n")).evidence is None


def test_a_folder_is_explained(run: Path, pictures: Path) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    found = api.explain_run(run, [pictures])
    told = found.to_json()
    json.dumps(told, allow_nan=False)
    assert told["method"] == "cam"
    rows = told["explanations"]
    assert [Path(row["path"]).name for row in rows] == ["0.png", "1.png", "2.png", "broken.png"]
    assert "error" in rows[3]
    for row in rows[:3]:
        assert {"path", "label", "method", "peak", "deletion", "insertion"} <= set(row)
        assert {"random_deletion", "random_insertion", "faithful"} <= set(row)
        y, x = row["peak"]
        assert 0 <= y < 24
        assert 0 <= x < 40
        overlay = cv2.imread(str(found.out / row["overlay"]))
        assert overlay.shape[0] * 40 == overlay.shape[1] * 24
    assert told["weights_check"]["n"] == 3
    assert found.out == run / "explain"
    assert json.loads((found.out / "explanations.json").read_text())["explanations"] == rows
    html = (found.out / "sheet.html").read_text()
    assert html.count('class="heat"') == 3
    assert "http" not in html.replace("http-equiv", "")
    assert api.explain_run(run, [pictures], api.Asked(check_weights=False)).out.name == "explain-2"


@pytest.mark.parametrize(
    "method",
    ["cam", "grad-cam", "grad-cam-plus-plus", "layer-cam", "integrated-gradients", "occlusion",
     "rise"],
)  # fmt: skip
def test_every_method_runs_on_a_bundle(run: Path, pictures: Path, method: str) -> None:
    asked = api.Asked(method=method, check_weights=method != "rise")
    found = api.explain_run(run, [pictures / "0.png"], asked)
    assert found.rows[0]["method"] == method


def test_pairs_of_classes(run: Path, pictures: Path) -> None:
    picture = pictures / "0.png"
    recognizer = api.load(run)
    best, second, *_ = recognizer.predict(picture, 4).labels
    told = recognizer.explain(picture, "occlusion", against="next").told
    assert (told["label"], told["against"]) == (best, second)
    other = recognizer.explain(picture, "occlusion", label=second, against=best).told
    assert other["score"] == pytest.approx(1 - told["score"], abs=1e-5)


def test_what_cannot_be_is_refused(run: Path, pictures: Path, tmp_path: Path) -> None:
    picture = [pictures / "0.png"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"method": "grad-kam"}, "Did you mean 'grad-cam'"),
        ({"label": "class 9"}, "Did you mean"),
        ({"label": "class 1", "against": "class 1"}, "against itself"),
        ({"options": {"masks": 9}}, "Name one with --method"),
        ({"method": "attention-rollout"}, "no attention"),
        ({"method": "attention-rollout", "against": "next"}, "looks at no class"),
    ]
    for told, words in cases:
        with pytest.raises(UsageError, match=words):
            api.explain_run(run, picture, api.Asked(**told, check_weights=False))
        assert not (run / "explain").exists()
    with pytest.raises(ConfigError, match="'masks'"):
        api.explain_run(run, picture, api.Asked(method="rise", options={"mask": 9}))
    with pytest.raises(UsageError, match="--class-maps"):
        api.explain_run(run, [])
    with pytest.raises(UsageError, match="--out"):
        api.explain_run(run / "bundle", picture)
    with pytest.raises(UsageError, match="already exists"):
        api.explain_run(run, picture, out=tmp_path)


def test_a_recognizer_without_gradients_is_explained_all_the_same(
    tmp_path: Path, pictures: Path
) -> None:
    network = SmallNetwork()
    path = tmp_path / "steps"
    write_model_bundle(path, network.onnx_model(), noise_images(3), family="classical")
    found = api.explain_run(path, [pictures], out=tmp_path / "out")
    assert found.method == "rise"
    assert found.check is None
    assert "classical" in found.check_reason
    with pytest.raises(UsageError, match="occlusion"):
        api.explain_run(
            path, [pictures], api.Asked("grad-cam", check_weights=False), tmp_path / "o"
        )


def test_without_gradients_the_last_layer_is_drawn_anew(tmp_path: Path) -> None:
    """So SIFT and trees are checked too, and a method that is blind to weights is flagged."""
    network, path = SmallNetwork(), tmp_path / "steps"
    write_model_bundle(
        path, network.onnx_model(), noise_images(3), OUTPUTS, network.weights, family="classical"
    )
    subject = subject_of(open_predictor(path))
    assert subject.redrawn == "the last layer"
    images = noise_images(4, seed=5)
    question = ask(int, subject.scores(images))
    for method in ("cam", "rise"):
        check = check_weights(make_explainer(method), subject, images, question)
        assert check.passed
        assert check.redrawn == "the last layer"

    class Edges:
        def maps(self, subject: Any, images_nhwc: Any, question: Any) -> Any:
            return np.abs(np.gradient(images_nhwc.mean(axis=3), axis=1)).astype(np.float32)

    assert not check_weights(Edges(), subject, images, question).passed  # type: ignore[arg-type]
    other, same, third = (subject.randomized(seed).scores(images) for seed in (1, 1, 2))
    assert np.array_equal(other, same)
    assert not np.allclose(other, third)


def test_average_maps_show_a_shortcut(tmp_path: Path) -> None:
    """A recognizer that looks at the upper left corner alone is caught."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.zeros((48 * 48, 2), np.float32)
    corner = np.zeros((48, 48), np.float32)
    corner[:5, :5] = 1
    weight[:, 0], weight[:, 1] = corner.ravel() / 255, -corner.ravel() / 255
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["sum"]),
            helper.make_node("Add", ["sum", "bias"], ["logits"]),
        ],
        "corner",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 48, 48, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.float32([-12, 12]), "bias"),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    random = np.random.default_rng(0)
    data = tmp_path / "data"
    images = random.integers(0, 200, (12, 48, 48, 1), dtype=np.uint8)
    for number, image in enumerate(images):
        label = number % 2
        image[:6, :6] = 250 * (1 - label)
        folder = data / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    write_model_bundle(tmp_path / "bundle", model, images[:3])
    asked = api.Asked(method="occlusion", class_maps=4)
    found = api.explain_run(tmp_path / "bundle", [], asked, tmp_path / "out", data)
    assert [(one.label, one.n) for one in found.classes] == [("class 0", 4), ("class 1", 4)]
    assert found.classes[0].suspicious
    y, x = found.classes[0].peak
    assert max(y, x) < 12
    assert "look at the border" in (tmp_path / "out" / "sheet.html").read_text()


def test_the_command_line_prints_one_object(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["explain", str(run), str(pictures), "--method", "rise", "--set", "masks=16"]
    monkeypatch.setattr("sys.argv", ["clearsight", *arguments])  # which verb is imported
    result = CliRunner().invoke(app, [*arguments, "--json", "--quiet", "--no-check-weights"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert len(told["explanations"]) == 3
    assert told["weights_check"] == {"passed": None, "reason": "not asked for"}
    result = CliRunner().invoke(app, [*arguments, "--quiet", "--no-check-weights"])
    assert "strongest at" in result.stdout
