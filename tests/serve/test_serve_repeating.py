"""Work beside the requests: it goes on after a failure, and says so once."""

import threading

from clearsight.serve import repeating
from clearsight.serve.repeating import Repeating


def test_of_failures_in_a_row_the_first_is_logged(monkeypatch):
    logged, times, enough = [], [], threading.Event()
    monkeypatch.setattr(repeating.log, "failure", lambda told, error: logged.append(str(error)))

    def work():
        times.append(None)
        if len(times) in (2, 3, 4, 6):
            raise OSError(f"time {len(times)}")
        if len(times) == 8:
            enough.set()

    each = Repeating(work, 0.001, "test", "trouble")
    assert enough.wait(10)
    each.close()
    assert logged == ["time 2", "time 6"]
    count = len(times)
    assert not any(thread.name == "test" for thread in threading.enumerate())
    assert len(times) == count
