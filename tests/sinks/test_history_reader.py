"""Reading a history in which a flipped bit has made a time into nothing."""

import sqlite3

from monitor.sinks.history_file import FILE_NAME
from monitor.sinks.history_reader import HistoryReader
from tests.fuzz.history_target import _seed


def test_a_time_that_is_nothing_is_no_quarter_of_an_hour(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(_seed())
    with HistoryReader(path) as sound:
        quarters = sound.quarters()
    connection = sqlite3.connect(path, isolation_level=None)
    # What STRICT and NOT NULL forbid, a card may do.
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'onset_s REAL NOT NULL', 'onset_s REAL')")
    connection.execute("PRAGMA writable_schema = RESET")
    connection.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE episodes SET onset_s = NULL")
    connection.close()
    with HistoryReader(path) as reader:
        left = reader.quarters()
    assert left
    assert set(left) <= set(quarters), "of what is known, all but the onset's"
