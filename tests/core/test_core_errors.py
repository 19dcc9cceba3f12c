from __future__ import annotations

import pytest

from clearsight.core import errors


def tree() -> list[type[errors.ClearsightError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ClearsightError)
    ]


def test_the_drawing_at_the_top_is_the_tree() -> None:
    drawn = {
        line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()[0]: line
        for line in (errors.__doc__ or "").splitlines()
        if " exit " in line
    }
    assert set(drawn) == {kind.__name__ for kind in tree()}
    for kind in tree():
        assert f"exit {kind.exit_code} " in drawn[kind.__name__], kind


@pytest.mark.parametrize("kind", tree())
def test_usage_is_2_a_gate_is_3_the_rest_is_1(kind: type[errors.ClearsightError]) -> None:
    wanted = 1
    if issubclass(kind, errors.UsageError):
        wanted = 2
    if issubclass(kind, errors.GateError):
        wanted = 3
    assert kind.exit_code == wanted


def test_unknown_key_names_the_nearest_and_all() -> None:
    error = errors.UnknownKeyError("model family", "compcat", ["probe", "compact"])
    assert str(error) == (
        "Unknown model family 'compcat'. Did you mean 'compact'? Allowed: compact, probe."
    )


def test_missing_extra_says_what_to_install() -> None:
    error = errors.MissingExtraError("torch", "train", "Training")
    assert "pip install 'clearsight[train]'" in str(error)
    assert "'torch'" in str(error)


def test_nearest_without_a_near_word_only_lists() -> None:
    assert errors.nearest("xyz", ["b", "a"]) == " Allowed: a, b."
    assert errors.nearest("xyz", []) == ""


def test_image_error_keeps_its_reason() -> None:
    error = errors.ImageError("pixels", "too many")
    assert (error.reason, error.detail, str(error)) == ("pixels", "too many", "too many")
