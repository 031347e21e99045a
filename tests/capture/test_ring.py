"""The ring: every sample is either delivered once, in order, or counted as lost."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.capture.ring import HEADER_BYTES, RingReader, RingWriter, ring_bytes


def ring(capacity: int, rate_hz: int = 16_000) -> tuple[RingWriter, RingReader, bytearray]:
    memory = bytearray(ring_bytes(capacity))
    return RingWriter(memory, rate_hz=rate_hz), RingReader(memory), memory


def block(*values: int) -> memoryview:
    return memoryview(struct.pack(f"{len(values)}h", *values)).cast("h")


def numbers(data: bytes) -> list[int]:
    return np.frombuffer(data, np.int16).tolist()


def test_what_is_written_is_read_once_in_order() -> None:
    writer, reader, _ = ring(8)
    writer.write(block(1, 2, 3), 10)
    assert reader.available == 3
    assert (reader.read(2)[0], numbers(reader.read(2)[1])) == (0, [3])
    assert reader.read(100) == (0, b"")


def test_reading_goes_on_across_the_end_of_the_buffer() -> None:
    writer, reader, _ = ring(8)
    writer.write(block(1, 2, 3, 4, 5, 6), 0)
    assert numbers(reader.read(5)[1]) == [1, 2, 3, 4, 5]
    writer.write(block(7, 8, 9, 10), 0)
    assert numbers(reader.read(100)[1]) == [6, 7, 8, 9, 10]


def test_a_full_ring_has_lost_nothing() -> None:
    writer, reader, _ = ring(8)
    writer.write(block(*range(8)), 0)
    assert reader.read(100) == (0, block(*range(8)).tobytes())


def test_an_overrun_is_reported_and_reading_resumes_with_room_to_spare() -> None:
    writer, reader, _ = ring(8)
    writer.write(block(*range(6)), 0)
    writer.write(block(*range(6, 12)), 0)
    # 0 to 3 are overwritten; a quarter of the ring beyond them is given up too
    lost, data = reader.read(100)
    assert lost == 6
    assert numbers(data) == [6, 7, 8, 9, 10, 11]


def test_a_write_longer_than_the_ring_keeps_its_end() -> None:
    writer, reader, _ = ring(4)
    writer.write(block(*range(10)), 0)
    lost, data = reader.read(100)
    assert numbers(data) == list(range(lost, 10))
    assert lost >= 6


def test_an_overwrite_in_progress_spoils_the_block_under_it() -> None:
    """The producer has claimed two samples more and been interrupted before it wrote them."""
    writer, reader, memory = ring(8)
    writer.write(block(*range(8)), 0)
    struct.pack_into("Q", memory, 3 * 8, 10)
    lost, data = reader.read(100)
    assert lost == 4
    assert numbers(data) == [4, 5, 6, 7]


def test_a_block_that_was_overwritten_while_it_was_copied_is_discarded() -> None:
    writer, reader, _ = ring(8)
    writer.write(block(*range(8)), 0)
    copy = reader._copy

    def slow_copy(n_samples: int) -> bytes:
        data = copy(n_samples)
        writer.write(block(8, 9, 10), 0)
        return data

    reader._copy = slow_copy  # type: ignore[method-assign]
    assert reader.read(100) == (5, b"")
    reader._copy = copy  # type: ignore[method-assign]
    assert numbers(reader.read(100)[1]) == [5, 6, 7, 8, 9, 10]


def test_one_channel_of_several_is_taken_by_a_strided_view() -> None:
    writer, reader, _ = ring(8)
    writer.write(block(1, -1, 2, -2, 3, -3)[1::2], 0)
    assert numbers(reader.read(100)[1]) == [-1, -2, -3]


def test_the_header_tells_rate_stamp_and_overflows() -> None:
    writer, reader, _ = ring(8, rate_hz=44_100)
    assert reader.stamp_ns == 0
    writer.write(block(1), 123_456_789_012)
    writer.count_overflow()
    writer.count_overflow()
    assert (reader.rate_hz, reader.stamp_ns, reader.overflows) == (44_100, 123_456_789_012, 2)


def test_a_ring_is_ready_once_it_is_laid_out() -> None:
    memory = bytearray(ring_bytes(8))
    reader = RingReader(memory)
    assert not reader.ready
    RingWriter(memory, rate_hz=16_000)
    assert reader.ready


def test_a_ring_of_another_version_is_refused() -> None:
    _, reader, memory = ring(8)
    struct.pack_into("Q", memory, 0, 77)
    with pytest.raises(ValueError, match="two versions"):
        _ = reader.ready


def test_samples_start_on_a_cache_line() -> None:
    assert HEADER_BYTES % 64 == 0


STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 90)), st.tuples(st.just("read"), st.integers(1, 60))
)


@settings(max_examples=200, deadline=None)
@given(
    capacity=st.integers(1, 40),
    steps=st.lists(STEPS),
)
def test_delivered_and_lost_samples_add_up_to_what_was_written(
    capacity: int, steps: list[tuple[str, int]]
) -> None:
    writer, reader, _ = ring(capacity)
    written = position = 0
    for step, count in steps:
        if step == "write":
            values = [(written + i) % 30_000 for i in range(count)]
            writer.write(block(*values), 0)
            written += count
        else:
            lost, data = reader.read(count)
            assert lost == 0 or written - position > capacity
            position += lost
            delivered = numbers(data)
            assert delivered == [(position + i) % 30_000 for i in range(len(delivered))]
            position += len(delivered)
            assert position == reader.position
    assert reader.available == written - position
