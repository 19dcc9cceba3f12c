"""Put any HTTP server under a closed loop and print what came back as JSON.

    python benchmarks/serve/parts/load.py < SPECIFICATION

The specification is one JSON object: url, target, headers, bodies (files), clients or rate, time_s,
warm_up_s.
"""

import json
import sys
from pathlib import Path

from clearsight.client.load.measure import measure_requests
from clearsight.client.load.plan import LoadPlan
from clearsight.client.load.requests import http_request


def main() -> None:
    told = json.load(sys.stdin)
    requests = [
        http_request(told["url"], told["target"], told["headers"], Path(file).read_bytes())
        for file in told["bodies"]
    ]
    names = ("clients", "rate", "time_s", "warm_up_s", "deadline_s")
    plan = LoadPlan.parse({name: told[name] for name in names if name in told})
    json.dump(measure_requests(told["url"], requests, plan).to_json(), sys.stdout)


if __name__ == "__main__":
    main()
