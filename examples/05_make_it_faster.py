"""Store an eight-bit variant of a recognizer, if it loses little and is faster here.

    python examples/05_make_it_faster.py runs/digits

Small networks spend their time elsewhere, so for them the answer is often that it does not pay.
"""

import sys

from clearsight import api
from clearsight.core.errors import GateError

run = sys.argv[1]

try:
    found = api.optimize(run, precision="int8", max_drop=0.5)
except GateError as refused:  # nothing has changed
    print(refused)
else:
    for engine, seen in found.variant.engines.items():
        print(
            f"{engine}: {seen.speed_up:.1f} times as fast, loses {seen.drop:.2f} points "
            f"({seen.drop_low:.2f} to {seen.drop_high:.2f}, {seen.n} pictures)"
        )
