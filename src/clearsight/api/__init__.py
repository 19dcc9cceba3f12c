"""The road in Python: composes the rooms; the command line and users call the same functions."""

from clearsight.api.answering import answering_gain
from clearsight.api.comparing import compare, compare_runs
from clearsight.api.converting import import_model, optimize
from clearsight.api.explaining import Asked, PictureExplanation
from clearsight.api.explanations import Explained, explain_run
from clearsight.api.recognizer import Recognizer, load, train
from clearsight.api.scoring import evaluate_run, held_out, predict_paths
from clearsight.api.stressing import stress, stress_run
from clearsight.api.training import (
    plan_study,
    plan_training,
    train_run,
    train_settings,
    tune,
)

__all__ = [
    "Asked",
    "Explained",
    "PictureExplanation",
    "Recognizer",
    "answering_gain",
    "compare",
    "compare_runs",
    "evaluate_run",
    "explain_run",
    "held_out",
    "import_model",
    "load",
    "optimize",
    "plan_study",
    "plan_training",
    "predict_paths",
    "stress",
    "stress_run",
    "train",
    "train_run",
    "train_settings",
    "tune",
]
