"""A real Prometheus scrapes a real service and answers every query of the dashboard."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/clearsight.json").read_text())
EMPTY_IN_A_CALM_LIFE = ("Shadow", "Drift", "Corrections", "Refusals")


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT CHECKED WITH PROMETHEUS: there is no {name} here (Debian: prometheus)")
    return found


def check(kind, path):
    command = [program("promtool"), "check", kind, str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_prometheus_accepts_the_alerts_and_the_configuration(tmp_path):
    done = check("rules", DEPLOY / "alerts.yml")
    assert done.returncode == 0, done.stderr
    config = (DEPLOY / "prometheus.yml").read_text()
    alerts = str(DEPLOY / "alerts.yml")
    (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus/alerts.yml", alerts))
    done = check("config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_a_broken_rule_is_refused(tmp_path):
    text = (DEPLOY / "alerts.yml").read_text().replace("clamp_min(", "clamp_min((", 1)
    (tmp_path / "alerts.yml").write_text(text)
    assert check("rules", tmp_path / "alerts.yml").returncode != 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, path, body=None):
    with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=10) as answer:
        return json.load(answer)


def query(url, expression):
    """Return what a panel would show, its variables filled in as Grafana does."""
    filled = expression.replace("$__rate_interval", "20s")
    filled = re.sub(r"\$(model|version)\b", ".*", filled)
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": filled})
    return ask(url, path)


def started(folder, service_port):
    """Start Prometheus on a free port; another program may take the port first, so try again."""
    config = (DEPLOY / "prometheus.yml").read_text()
    config = config.replace("clearsight:8000", f"127.0.0.1:{service_port}")
    config = config.replace("scrape_interval: 10s", "scrape_interval: 1s")
    config = config.replace("/etc/prometheus/alerts.yml", str(DEPLOY / "alerts.yml"))
    (folder / "prometheus.yml").write_text(config)
    command = [program("prometheus"), f"--config.file={folder}/prometheus.yml"]
    for attempt in range(5):
        address = f"127.0.0.1:{free_port()}"
        places = [f"--storage.tsdb.path={folder}/{attempt}", f"--web.listen-address={address}"]
        with open(folder / "log", "a") as log:
            process = subprocess.Popen([*command, *places], stdout=log, stderr=log)
        for _ in range(300):
            if process.poll() is not None:
                break
            try:
                query(f"http://{address}", "up")
            except OSError:
                time.sleep(0.1)
                continue
            return process, f"http://{address}"
        process.kill()
        process.wait()
    raise AssertionError((folder / "log").read_text()[-2000:])


@pytest.fixture(scope="module")
def prometheus(colours, tmp_path_factory):
    folder, red = tmp_path_factory.mktemp("prometheus"), picture("PNG", (200, 20, 20))
    with running_service([colours]) as service:
        process, url = started(folder, service.port)
        try:
            ends = time.monotonic() + 60
            while not query(url, "sum(rate(clearsight_pictures_total[20s])) > 0")["data"]["result"]:
                assert time.monotonic() < ends, (folder / "log").read_text()[-2000:]
                ask(service.url, "/v1/recognize", red)
                time.sleep(0.2)
            yield url
        finally:
            process.kill()
            process.wait()


PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.slow
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_gets_its_answer(prometheus, panel):
    found = [query(prometheus, target["expr"]) for target in panel["targets"]]
    assert all(each["status"] == "success" for each in found)
    if not panel["title"].startswith(EMPTY_IN_A_CALM_LIFE):
        assert any(each["data"]["result"] for each in found), "the panel would be empty"


@pytest.mark.slow
def test_the_alerts_are_read_and_quiet(prometheus):
    rules = ask(prometheus, "/api/v1/rules")["data"]["groups"][0]["rules"]
    assert len(rules) >= 4
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert {rule["state"] for rule in rules} == {"inactive"}
