"""Heads give what scikit-learn gives, in numpy and in both engines; their options count."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from clearsight.core.calibration import softmax
from clearsight.core.progress import Silent
from clearsight.learn.heads import HEADS
from clearsight.learn.heads._graph import HeadGraph
from clearsight.learn.heads._present import Present
from clearsight.learn.heads._trees import Tree, Trees, rounded_down
from clearsight.learn.heads.gradient_boosting import FittedBoosting, GradientBoosting, _Watch
from clearsight.learn.heads.gradient_boosting import _tree as boosted_tree
from clearsight.learn.heads.random_forest import FittedForest, RandomForest
from clearsight.learn.heads.random_forest import _tree as forest_tree
from clearsight.learn.heads.rbf_svm import RbfSvm

DIGITS = load_digits()
ORDER = np.random.default_rng(0).permutation(len(DIGITS.data))
X = DIGITS.data[ORDER].astype(np.float32)
Y = DIGITS.target[ORDER].astype(np.int64)
TRAIN, VAL, TEST = (X[:900], Y[:900]), (X[900:1300], Y[900:1300]), (X[1300:], Y[1300:])
HUGE = float(np.finfo(np.float32).max)


def float_features(d: int) -> bytes:
    """ONNX that takes the features themselves: "embedding" = "features"."""
    shape = ["n", d]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["features"], ["embedding"])],
        "features",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, shape)],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def in_both_engines(fitted, features: np.ndarray) -> list[np.ndarray]:
    import onnxruntime
    import openvino

    model = fitted.append(float_features(features.shape[1]))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    compiled = openvino.compile_model(
        openvino.Core().read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return [session.run(["logits"], {"features": features})[0], compiled(features)["logits"]]


def rows_on_the_edge(trees: Trees, d: int) -> np.ndarray:
    """Rows whose values are the thresholds themselves, their neighbours, and the extremes."""
    random = np.random.default_rng(3)
    edges = trees.threshold[np.isfinite(trees.threshold)]
    near = np.concatenate([edges, np.nextafter(edges, np.float32(np.inf))])
    rows = random.choice(near, (300, d)).astype(np.float32)
    far = random.choice(np.float32([HUGE, -HUGE, 0, 1e-30, -1e30]), (50, d))
    return np.concatenate([rows, far])


def messy(features: np.ndarray) -> np.ndarray:
    """The digits with columns whose midpoints no float32 hits, and huge ones."""
    factor = np.resize(np.float32([1, 0.1, 1e30, 1 / 3, 1e-30]), features.shape[1])
    return (features * factor).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 10])
def test_forest_has_scikit_learns_probabilities(classes: int) -> None:
    known = TRAIN[1] < classes
    rows, labels = messy(TRAIN[0][known]), TRAIN[1][known]
    theirs = RandomForestClassifier(25, random_state=0).fit(rows, labels)
    trees = Trees.join([forest_tree(one.tree_) for one in theirs.estimators_])
    ours = FittedForest(trees, Present.of(labels, classes), {})
    for features in (messy(TEST[0]), rows_on_the_edge(trees, 64)):
        wanted = theirs.predict_proba(features)
        for scores in (ours.scores(features), *in_both_engines(ours, features)):
            assert np.abs(softmax(scores) - wanted).max() < 1e-5


@pytest.mark.parametrize("classes", [2, 10])
def test_boosting_has_scikit_learns_probabilities(classes: int) -> None:
    known = TRAIN[1] < classes
    rows, labels = messy(TRAIN[0][known]), TRAIN[1][known]
    theirs = HistGradientBoostingClassifier(
        max_iter=12, early_stopping=False, max_leaf_nodes=12, random_state=0
    ).fit(rows, labels)
    rounds = [
        [boosted_tree(one.nodes, np.arange(64)) for one in many] for many in theirs._predictors
    ]
    trees = Trees.join([tree for one in rounds for tree in one])
    baseline = theirs._baseline_prediction.ravel().astype(np.float32)
    ours = FittedBoosting(trees, baseline, Present.of(labels, classes), {})
    for features in (messy(TEST[0]), rows_on_the_edge(trees, 64)):
        wanted = theirs.predict_proba(features)
        for scores in (ours.scores(features), *in_both_engines(ours, features)):
            assert np.abs(softmax(scores) - wanted).max() < 1e-5


def test_thresholds_are_never_rounded_up() -> None:
    random = np.random.default_rng(0)
    exact = np.concatenate([random.normal(size=1000), [0.1, -0.1, 1e39, -1e39, np.inf, 0.0]])
    down = rounded_down(exact)
    with np.errstate(over="ignore"):
        above = np.nextafter(down, np.float32(np.inf))
    assert (down <= exact).all()
    assert (above > exact)[np.isfinite(exact)].all()
    for value in (down, above):
        assert ((value <= exact) == (value <= down)).all()


def test_a_tree_by_hand() -> None:
    tree = Tree(
        feature=np.array([1, -2, 0, -2, -2]),
        threshold=np.array([0.5, 0, 2.0, 0, 0]),
        left=np.array([1, -1, 3, -1, -1]),
        right=np.array([2, -1, 4, -1, -1]),
        leaf=np.array([False, True, False, True, True]),
        value=np.array([[0], [10.0], [0], [20.0], [30.0]]),
    )
    trees = Trees.join([tree, tree])
    rows = np.float32([[9, 0.5], [2, 0.6], [2.1, 0.6]])
    assert trees.values[trees.leaves(rows), 0].tolist() == [[10, 10], [20, 20], [30, 30]]
    assert trees.depth == 2


def test_boosting_follows_validation_and_keeps_the_best_round() -> None:
    fitted = GradientBoosting(GradientBoosting.Config(learning_rate=0.6, patience=3)).fit(
        TRAIN, VAL, 10, 0, None, Silent()
    )
    losses = fitted.story["log_loss"]
    assert fitted.story["rounds"] == int(np.argmin(losses)) + 1 == len(losses) - 3
    scores = fitted.scores(VAL[0])
    total = np.logaddexp.reduce(scores.astype(np.float64), axis=1)
    right = scores[np.arange(len(scores)), VAL[1]]
    assert float((total - right).mean()) == pytest.approx(min(losses), abs=1e-4)


def test_rbf_is_as_good_as_scikit_learns() -> None:
    ours = RbfSvm(RbfSvm.Config()).fit(TRAIN, VAL, 10, 0, None, Silent())
    tried = [SVC(C=c, gamma=gamma).fit(*TRAIN) for c in (1, 10) for gamma in (3e-4, 1e-3, "scale")]
    best = max(tried, key=lambda one: one.score(*VAL))
    accuracy = (ours.scores(TEST[0]).argmax(axis=1) == TEST[1]).mean()
    assert accuracy >= best.score(*TEST) - 0.01
    assert ours.story["landmarks"] == len(TRAIN[0]), "a small set is fitted exactly"


def test_few_landmarks_stay_close() -> None:
    config = RbfSvm.Config(landmarks=200, scalings=("whole",), widths=(1.0, 2.0))
    fitted = RbfSvm(config).fit(TRAIN, VAL, 10, 0, None, Silent())
    assert fitted.arrays()["head.landmarks"].shape == (200, 64)
    assert (fitted.scores(TEST[0]).argmax(axis=1) == TEST[1]).mean() > 0.93


def test_memory_bounds_the_landmarks_and_is_said() -> None:
    said = []

    class Listening(Silent):
        def say(self, event: str, **fields: object) -> None:
            said.append(event)

    config = RbfSvm.Config(memory_bytes=2**20, widths=(1.0,), scalings=("whole",))
    fitted = RbfSvm(config).fit(TRAIN, VAL, 10, 0, None, Listening())
    assert fitted.story["landmarks"] * (900 + 400) * 4 <= 2**20
    assert fitted.story["rows"] == 900
    assert any("landmarks" in event for event in said)


QUICK = {
    "random-forest": {"trees": 60},
    "gradient-boosting": {"learning_rate": 0.15, "patience": 3},
    "rbf-svm": {"widths": (1.0,), "scalings": ("whole",), "strengths": (0.3, 0.1)},
}
OPTIONS = {
    "linear-svm": {"strengths": (10.0,)},
    "logistic": {"strengths": (10.0,)},
    "random-forest": {
        "trees": 3, "depth": 2, "smallest_leaf": 40, "column_share": 1.0, "model_bytes": 2**16,
    },
    "gradient-boosting": {
        "rounds": 2, "patience": 1, "learning_rate": 0.9, "leaves": 3, "depth": 2,
        "smallest_leaf": 60, "columns": 5, "bins": 3, "model_bytes": 2**16,
    },
    "rbf-svm": {
        "landmarks": 50, "widths": (3.0,), "strengths": (5.0,), "scalings": ("columns",),
        "memory_bytes": 2**20,
    },
}  # fmt: skip


@pytest.mark.parametrize("key", HEADS.keys())
def test_every_option_changes_what_is_learnt(key: str) -> None:
    head = HEADS.load(key)
    assert set(OPTIONS[key]) == set(head.Config.model_fields), "each option needs a case here"

    def learnt(**options: object) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        fitted = head(head.Config(**options)).fit(
            (TRAIN[0][:500, 10:30], TRAIN[1][:500]), VAL_FEW, 10, 0, None, Silent()
        )
        return fitted.story, dict(fitted.arrays())

    story, plain = learnt(**QUICK.get(key, {}))
    for option, value in OPTIONS[key].items():
        other_story, other = learnt(**{**QUICK.get(key, {}), option: value})
        changed = [name for name in plain if not np.array_equal(plain[name], other[name])]
        assert changed or story != other_story, option


VAL_FEW = (VAL[0][:200, 10:30], VAL[1][:200])


@pytest.mark.parametrize("key", ["random-forest", "gradient-boosting", "rbf-svm"])
def test_threads_change_no_bit(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head, few = HEADS.load(key), (TRAIN[0][:400], TRAIN[1][:400])
    small = QUICK[key] | ({"rounds": 4} if key == "gradient-boosting" else {})
    found = []
    for threads in (1, 2):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        monkeypatch.setattr(GradientBoosting, "_pace", lambda *a, threads=threads: (threads, 0.0))
        with threadpool_limits(threads):
            found.append(head(head.Config(**small)).fit(few, VAL, 10, 0, None, Silent()).arrays())
    for name, value in found[0].items():
        assert np.array_equal(value, found[1][name]), name


@pytest.mark.parametrize("key", HEADS.keys())
def test_a_short_time_is_kept_and_used(key: str) -> None:
    head = HEADS.load(key)
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 20000)
    rows = random.normal(size=(10, 300))[labels] * 0.3 + random.normal(size=(20000, 300))
    rows = rows.astype(np.float32)
    began = time.monotonic()
    fitted = head(head.Config()).fit(
        (rows[:18000], labels[:18000]), (rows[18000:], labels[18000:]), 10, 0,
        began + 3, Silent(),
    )  # fmt: skip
    assert time.monotonic() - began < 30, "ten times the time, for a machine that is busy"
    assert fitted.story["val_accuracy"] > 0.3


def test_exported_size_is_bounded() -> None:
    config = RandomForest.Config(trees=40, model_bytes=2**17)
    fitted = RandomForest(config).fit(TRAIN, VAL, 10, 0, None, Silent())
    assert len(fitted.append(float_features(64))) < 2**17 + 40_000
    watch = _Watch(np.arange(64), VAL, 1, None, Silent())
    assert len(watch.best(10)[0].roots) == 1, "no round yet: one tree that says nothing"


def test_graph_names_do_not_clash_with_the_features() -> None:
    fitted = HEADS.load("linear-svm")(HEADS.load("linear-svm").Config()).fit(
        TRAIN, VAL, 10, 0, None, Silent()
    )
    graph = HeadGraph(fitted.append(float_features(64)))._model.graph
    names = [node.output[0] for node in graph.node]
    assert len(set(names)) == len(names)
    assert [one.name for one in graph.output] == ["logits", "embedding"]
