"""The container, the compose file, the dashboard and the alerts are what they say they are."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

import pytest

from clearsight.testing.protocol_contract import picture
from clearsight.testing.running_service import running_service

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy/grafana/dashboards/clearsight.json"
ALERTS = ROOT / "deploy/alerts.yml"
METRIC = re.compile(r"\b(?:clearsight|process)_[a-z0-9_]+")
SUFFIXES = ("_bucket", "_sum", "_count")
PANELS = {"row", "stat", "timeseries", "table"}
UNITS = {"reqps", "s", "short", "percentunit", "bytes"}


def yaml(path):
    return pytest.importorskip("yaml", reason="YAML IS NOT CHECKED").safe_load(path.read_text())


def expressions():
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for group in yaml(ALERTS)["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def unknown_metrics(expression, families):
    """Return the metrics of an expression that a service does not have."""
    names = set(METRIC.findall(expression))
    known = set(families)
    for name in families:
        known |= {name + suffix for suffix in SUFFIXES}
    return names - known


@pytest.fixture(scope="module")
def metrics(colours):
    with running_service([colours]) as service:
        for body in (picture("PNG", (200, 20, 20)), b"junk"):
            request = urllib.request.Request(f"{service.url}/v1/recognize", body)
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=20).read()
        with urllib.request.urlopen(f"{service.url}/metrics", timeout=20) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def families(metrics):
    return re.findall(r"^# TYPE (\S+) ", metrics, re.MULTILINE)


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_query_asks_for_metrics_that_exist(families, where, expression):
    assert METRIC.search(expression) or expression.startswith("up{"), where
    assert unknown_metrics(expression, families) == set()


def test_every_label_of_a_query_exists(metrics):
    labels = {"instance", "job"} | set(re.findall(r'[{,]([a-z_]+)="', metrics))
    labels |= {"kind", "production", "shadow", "right", "le", "version"}  # not in this short life
    for where, expression in expressions():
        used = set(re.findall(r"[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)", expression))
        for inside in re.findall(r"by \(([^)]*)\)", expression):
            used |= {name.strip() for name in inside.split(",")}
        assert used <= labels, f"{where}: {used - labels}"


def test_a_planted_query_is_caught(families):
    assert unknown_metrics("rate(clearsight_nothing_total[5m])", families)
    assert unknown_metrics("rate(clearsight_requests_total[5m])", families) == set()


def test_every_metric_of_ours_is_on_the_dashboard(families):
    asked = {name for _, expression in expressions() for name in METRIC.findall(expression)}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    ours = {name for name in families if name.startswith("clearsight_")}
    created = {name for name in ours if name.endswith("_created")}
    assert ours - created - bases - asked == set()


def test_the_dashboard_has_the_shape_that_grafana_reads():
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["id"] is None, "an id belongs to one Grafana"
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(dashboard)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        assert panel["type"] in PANELS
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def lost(written, read, path=""):
    """Yield what is in one JSON value and not, or otherwise, in the other."""
    if isinstance(written, dict) and isinstance(read, dict):
        for name, value in written.items():
            yield from lost(value, read.get(name), f"{path}.{name}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, pair in enumerate(zip(written, read, strict=True)):
            yield from lost(*pair, f"{path}[{index}]")
    elif written != read:
        yield path


def read_by_grafana(dashboard):
    """Read a dashboard with the models that are generated from Grafana's own schema."""
    models = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="NOT CHECKED WITH GRAFANA'S SCHEMA"
    )
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    plugins.register_default_plugins()
    return json.loads(JSONEncoder().encode(models.Dashboard.from_json(dashboard)))


def test_grafanas_own_schema_reads_every_field_of_it():
    dashboard = json.loads(DASHBOARD.read_text())
    assert list(lost(dashboard, read_by_grafana(dashboard))) == []


def test_a_field_that_grafana_does_not_know_is_noticed():
    dashboard = json.loads(DASHBOARD.read_text())
    dashboard["panels"][1]["fieldConfig"]["defaults"]["unitt"] = "s"
    dashboard["templatng"] = {}
    found = list(lost(dashboard, read_by_grafana(dashboard)))
    assert found == [".panels[1].fieldConfig.defaults.unitt", ".templatng"]


def instructions():
    """Return the Dockerfile's instructions, one (word, rest) each."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines()]
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def every(word):
    return [rest for name, rest in instructions() if name == word]


def test_the_container_is_small_and_runs_as_nobody_in_particular():
    bases = [rest.split()[0] for rest in every("FROM")]
    assert set(bases) == {"python:3.12-slim"}
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert supported == ">=3.11,<3.14"
    user = every("USER")[-1].split(":")[0]
    assert user.isdigit()
    assert int(user) > 0
    assert every("ENTRYPOINT") == ['["clearsight"]']
    assert "/readyz" in every("HEALTHCHECK")[0]
    assert not every("ADD")


def test_the_container_installs_what_the_pages_say():
    install = next(rest for rest in every("RUN") if "pip install" in rest)
    assert "-c constraints.txt" in install
    told = (ROOT / "docs/how-to/run-in-a-container.md").read_text()
    assert "pip install -c constraints.txt" in told
    extras = set(re.findall(r'"\.\[([^\]]*)\]"', install))
    assert extras == {re.search(r'pip install -c constraints.txt "\.\[([^\]]*)\]"', told)[1]}
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {name for extra in extras for name in extra.split(",")}
    assert named <= set(known["optional-dependencies"])


def test_only_what_is_needed_goes_to_the_builder():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    wanted = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        name
        for rest in every("COPY")
        if not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert copied == wanted
    assert all((ROOT / name).exists() for name in wanted)
    assert any(fnmatch("src/clearsight/__pycache__", rule) for rule in rules[1:])


def test_hadolint_finds_nothing():
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("THE DOCKERFILE IS NOT LINTED: no hadolint here")
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_is_closed_where_it_can_be():
    services = yaml(ROOT / "compose.yaml")["services"]
    ours = services["clearsight"]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    for service in services.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), "nothing is open to others by default"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./") and source != "./models":
                assert (ROOT / source).exists()
    assert all("profiles" in services[name] for name in ("prometheus", "grafana"))
    command = ours["command"]
    assert command[0] == "serve"
    grpc = command[command.index("--grpc-port") + 1]
    assert {port.split(":")[-1] for port in ours["ports"]} == {"8000", grpc}
    exposed = every("EXPOSE")[0].split()
    assert {"8000", grpc} == set(exposed)


def test_prometheus_scrapes_the_service_and_reads_the_alerts():
    config = yaml(ROOT / "deploy/prometheus.yml")
    [job] = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"][0]["targets"] == ["clearsight:8000"]
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]


@pytest.mark.slow
def test_the_containers_commands_build_a_service_that_is_healthy(tmp_path, colours):
    """Run what the Dockerfile says, on this machine, without a container engine."""
    source, target = tmp_path / "source", tmp_path / "opt"
    source.mkdir()
    for rest in every("COPY"):
        if not rest.startswith("--from"):
            *names, _ = rest.split()
            for name in names:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / Path(name).name)
    run = next(rest for rest in every("RUN") if "pip install" in rest)
    run = run.replace("/opt/clearsight", str(target)).replace("python -m", f"{sys.executable} -m")
    subprocess.run(run, shell=True, cwd=source, check=True, capture_output=True, timeout=280)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    environment = {
        "PATH": f"{target}/bin:/usr/bin:/bin",
        "CLEARSIGHT_STORE": str(state),
        "XDG_CACHE_HOME": str(state / "cache"),
        "CLEARSIGHT_LOG": "info",
    }
    entry = json.loads(every("ENTRYPOINT")[0])
    command = [*entry, "serve", str(colours), "--port", "0"]
    program = str(target / "bin/clearsight")
    service = subprocess.Popen(
        command, env=environment, executable=program, cwd=state, stdout=subprocess.PIPE, text=True
    )
    try:
        port = re.search(r":([0-9]+) ", service.stdout.readline())[1]
        health = every("HEALTHCHECK")[0].split("CMD", 1)[1].strip()
        check = [part.replace(":8000", f":{port}") for part in json.loads(health)]
        check[0] = str(target / "bin/python")
        assert subprocess.run(check, capture_output=True).returncode == 0, shlex.join(check)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/recognize", picture("PNG", (200, 20, 20))
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["predictions"][0]["label"] == "red"
        service.terminate()
        assert service.wait(40) == 0
    finally:
        service.kill()
    assert subprocess.run(check, capture_output=True).returncode != 0, "the check can fail"
    frozen = subprocess.run(
        [str(target / "bin/python"), "-c", "import torch"], capture_output=True, check=False
    )
    assert frozen.returncode != 0, "no torch in the container"
