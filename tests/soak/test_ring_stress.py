"""Two processes on one small ring: no corrupt block, and the loss accounts balance."""

import os
import subprocess
import sys
import time

import numpy as np

from monitor.capture.ring import RingReader, RingWriter, create_shared_memory, open_shared_memory

CAPACITY = 4_000
RUN_S = 1.5
PERIOD = 30_011  # prime: a sample tells its place, also across wraps of the ring


def produce(descriptor: int) -> None:
    writer = RingWriter(open_shared_memory(descriptor), rate_hz=16_000)
    pattern = memoryview(np.tile(np.arange(PERIOD, dtype=np.int16), 2))
    lengths = (1, 7, 160, 997, 1_600, 3_999)
    written = turn = 0
    deadline = time.monotonic() + RUN_S
    while time.monotonic() < deadline:
        length = lengths[turn % len(lengths)]
        phase = written % PERIOD
        writer.write(pattern[phase : phase + length], time.monotonic_ns())
        written += length
        turn += 1
    writer.write(pattern[:0], time.monotonic_ns())


def test_an_overrun_ring_never_delivers_a_corrupt_block() -> None:
    descriptor, memory = create_shared_memory(CAPACITY)
    reader = RingReader(memory)
    # A fresh interpreter, not a fork: a fork in a process with threads may deadlock.
    producer = subprocess.Popen([sys.executable, __file__, str(descriptor)], pass_fds=[descriptor])
    os.close(descriptor)
    expected = np.tile(np.arange(PERIOD, dtype=np.int16), 2)
    delivered = lost_in_all = corrupt = 0
    limits = (500, 4_000, 37)
    turn = 0
    while producer.poll() is None or reader.available:
        lost, data = reader.read(limits[turn % len(limits)])
        turn += 1
        lost_in_all += lost
        block = np.frombuffer(data, np.int16)
        phase = (delivered + lost_in_all) % PERIOD
        corrupt += not np.array_equal(block, expected[phase : phase + len(block)])
        delivered += len(block)
    assert producer.returncode == 0
    assert corrupt == 0
    assert delivered + lost_in_all == reader.written
    # The run is worth nothing unless both happened, often.
    assert delivered > 10 * CAPACITY
    assert lost_in_all > 10 * CAPACITY


if __name__ == "__main__":
    produce(int(sys.argv[1]))
