import os
import stat

import pytest

from monitor.files import read_text, replace_contents


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_read_as_if_it_were_not_there(tmp_path, encoding):
    file = tmp_path / "x"
    file.write_text("grün\r\n", encoding=encoding, newline="")
    assert read_text(file) == "grün\r\n"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("grün".encode("utf-16"), "is UTF-16 text"),
        ("\ufeffgrün".encode("utf-16-be"), "is UTF-16 text"),
        ("grün".encode("utf-32"), "is UTF-32 text"),
        ("grün".encode("latin-1"), r"is not UTF-8 text \(byte 2\)"),
    ],
)
def test_other_encodings_are_named(tmp_path, content, what):
    file = tmp_path / "x"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=what):
        read_text(file)


def test_a_file_keeps_its_mode_and_a_link_its_target(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    replace_contents(link, b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "target"]


def test_a_new_file_gets_what_the_process_gives_to_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        replace_contents(tmp_path / "open", b"x")
        replace_contents(tmp_path / "closed", b"x", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "closed").stat().st_mode) == 0o600


def test_a_link_to_a_file_that_is_not_there_yet_is_followed(tmp_path):
    (tmp_path / "link").symlink_to("target")
    replace_contents(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_name_as_long_as_a_name_can_be(tmp_path):
    name = "ü" * 127
    replace_contents(tmp_path / name, b"x")
    assert [one.name for one in tmp_path.iterdir()] == [name]
