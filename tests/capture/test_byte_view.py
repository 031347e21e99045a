"""A file in pieces reads like the pieces in a row, and a disk that fails says why."""

import io
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.capture import byte_view
from monitor.capture.byte_view import ByteView, FileBytes, Span

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield FileBytes(descriptor)
    os.close(descriptor)


piece = st.one_of(
    st.binary(max_size=9),
    st.tuples(st.integers(0, 1024), st.integers(0, 40)).map(lambda at: Span(at[0], sum(at))),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(piece, max_size=8),
    steps=st.lists(
        st.tuples(st.sampled_from([0, 1, 2]), st.integers(-30, 60), st.integers(0, 50)), max_size=8
    ),
)
def test_pieces_read_and_seek_like_one_file(file, pieces, steps):
    pieces = [
        part if isinstance(part, bytes) else Span(part.start, min(part.stop, len(CONTENT))) for part in pieces
    ]
    whole = b"".join(part if isinstance(part, bytes) else CONTENT[part.start : part.stop] for part in pieces)
    view, known = ByteView(file, pieces), io.BytesIO(whole)
    for whence, offset, length in steps:
        origin = (0, known.tell(), len(whole))[whence]
        assert view.seek(offset, whence) == known.seek(max(0, origin + offset))
        assert view.read(length) == known.read(length)
        assert view.tell() == known.tell()


def test_a_pattern_is_found_wherever_it_lies(file):
    assert file.find(b"\xff\x00\x01", 0) == 255
    assert file.find(b"\xff\x00\x01", 256) == 511
    assert file.find(b"\xff\x00\x01", 0, 257) == -1
    assert file.find(b"\x02\x01", 0) == -1


def test_a_pattern_across_two_reads_is_found(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(bytes(byte_view.SEARCH_BYTES - 2) + b"data" + bytes(9))
    descriptor = os.open(path, os.O_RDONLY)
    assert FileBytes(descriptor).find(b"data", 0) == byte_view.SEARCH_BYTES - 2
    os.close(descriptor)


def test_what_the_system_does_not_give_is_said_and_not_raised(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_WRONLY)
    file = FileBytes(descriptor)
    assert file.at(0, 10) == b""
    assert ByteView(file, [b"ab", Span(0, 5)]).read(7) == b"ab"
    assert file.failure == "Bad file descriptor"
    os.close(descriptor)
