"""Leaving a part of a library out while it is imported."""

import subprocess
import sys

import pytest

from clearsight.core.imports import without


def test_the_part_is_missing_inside_and_there_afterwards():
    sys.modules.pop("colorsys", None)
    with without("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys  # noqa: F401


def test_what_was_imported_before_stays():
    import json

    with without("json"):
        import json as again
    assert again is json is sys.modules["json"]


def test_openvino_starts_without_its_converter_and_others_still_get_it():
    code = (
        "import sys, clearsight.engines.openvino; assert 'openvino.tools.ovc' not in sys.modules;"
        "from openvino.tools.ovc import convert_model"
    )
    pytest.importorskip("openvino")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
