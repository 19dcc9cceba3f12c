"""Freed memory stays with the process while a model is trained, and goes back afterwards."""

import subprocess
import sys

import numpy as np
import pytest

from clearsight.learn import allocator

CODE = """
import os
import numpy as np
from clearsight.learn.allocator import kept_memory

MIB = 2**20

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB

def come_and_go():
    arrays = [np.ones(32 * MIB // 8) for _ in range(4)]
    del arrays

before = resident()
come_and_go()
print(resident() - before)
with kept_memory():
    come_and_go()
    print(resident() - before)
print(resident() - before)
"""


@pytest.mark.skipif(allocator._glibc() is None, reason="the C library is not glibc")
def test_freed_memory_is_kept_inside_the_block_only():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    outside, inside, after = map(float, done.stdout.split())
    assert inside > 100
    assert max(outside, after) < 40


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with allocator.kept_memory():
        assert np.ones(3).sum() == 3
