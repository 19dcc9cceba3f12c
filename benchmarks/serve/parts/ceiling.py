"""The in-process ceiling: N threads in a closed loop around the same predictor, no transport.

    python benchmarks/serve/parts/ceiling.py BUNDLE PICTURE THREADS ENGINE

Reads a number of seconds from each line of stdin and writes pictures/s to stdout.
"""

import sys
import threading
import time
from pathlib import Path

from clearsight.engines.open import open_predictor
from clearsight.engines.session import cores


def measure(predictor, picture: bytes, threads: int, seconds: float) -> float:
    counts = [0] * threads
    ends = time.perf_counter() + seconds

    def loop(index: int) -> None:
        while time.perf_counter() < ends:
            predictor.recognize(picture, 5)
            counts[index] += 1

    started = time.perf_counter()
    workers = [threading.Thread(target=loop, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - started)


def main() -> None:
    bundle, picture, threads, engine = sys.argv[1:5]
    encoded = Path(picture).read_bytes()
    predictor = open_predictor(Path(bundle), engine, threads=max(1, cores() // int(threads)))
    measure(predictor, encoded, int(threads), 0.5)
    print("ready", flush=True)
    for line in sys.stdin:
        print(measure(predictor, encoded, int(threads), float(line)), flush=True)


if __name__ == "__main__":
    main()
