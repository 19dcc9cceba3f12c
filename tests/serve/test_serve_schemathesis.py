"""CHECKS 9: schemathesis over the document of a running service, every check."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clearsight.testing.running_service import running_service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed"
    ),
]
HERE = Path(__file__).parent
# every operation is tried with wrong keys, far more often than one address may
NO_LIMIT = """
from clearsight.serve.access.rates import WrongKeys
WrongKeys.count = lambda self, address: 0.0
"""
# a request whose deadline cannot be kept is refused with these, as the document says
REFUSALS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
"""
NAMES = """
[parameters]
"path.model" = "colours"
"path.name" = "colours"
"path.version" = "production"
"""


def run(url, folder, *options):
    """Run every check; fail with what schemathesis says."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing", "-n", "30"),
            *("--no-color", "--seed", "1", *options),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)},
        timeout=1700,
    )
    told = "\n".join(line[:300] for line in done.stdout.splitlines())
    assert done.returncode == 0, told[-12000:] + done.stderr[-2000:]
    assert "generated" in done.stdout


def test_nothing_is_found_without_keys(colours, tmp_path):
    (tmp_path / "schemathesis.toml").write_text(REFUSALS)
    with running_service([colours]) as service:
        run(service.url, tmp_path)


def test_nothing_is_found_with_a_key_that_may_do_everything(colours, tmp_path):
    (tmp_path / "schemathesis.toml").write_text(REFUSALS + NAMES)
    store = tmp_path / "store"
    options = ["--name", "tests", "--scopes", "recognize,explain,metrics,admin", "--quiet"]
    key = subprocess.run(
        [sys.executable, "-m", "clearsight", "keys", "create", *options, "--store", str(store)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    with running_service([colours], before=NO_LIMIT, store=store) as service:
        run(service.url, tmp_path, "-H", f"Authorization: Bearer {key}")


def test_a_service_that_breaks_its_word_is_found(colours, tmp_path):
    broken = """
from clearsight.serve.oip import about
about.server = lambda: {"name": 7}
"""
    with (
        running_service([colours], before=broken) as service,
        pytest.raises(AssertionError, match="ST"),
    ):
        run(service.url, tmp_path, "--include-path", "/v2")
