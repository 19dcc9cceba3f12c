"""Start the service as a program would, call it, and stop it.

    python examples/03_serve_and_call.py runs/digits digits/3/0003.png

Only the call in the middle belongs into a client; it needs nothing but the standard library.
"""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

run, picture = sys.argv[1:3]

command = [sys.executable, "-m", "clearsight", "serve", run, "--port", "0"]
service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    line = service.stdout.readline()  # "Serving at http://127.0.0.1:... "
    url = next(word for word in line.split() if word.startswith("http"))

    request = urllib.request.Request(f"{url}/v1/recognize?top=3", Path(picture).read_bytes())
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)

    for item in answer["predictions"]:
        print(f"{item['label']}  {item['score']:.3f}")
finally:
    service.send_signal(signal.SIGTERM)  # it answers what is in flight, then ends
    print("service ended with exit code", service.wait(timeout=60))
