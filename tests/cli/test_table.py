import io

from monitor.cli.table import print_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_aligned_without_trailing_space():
    stream = io.StringIO()
    print_table(["a", "long head"], [["first", "x"], ["2", ""]], stream)
    assert stream.getvalue() == "a      long head\nfirst  x\n2\n"


def test_a_terminal_gets_a_drawn_table_and_no_markup_is_read_from_the_cells():
    stream = Terminal()
    print_table(["file"], [["[red].wav"]], stream)
    assert "[red].wav" in stream.getvalue()
    assert "┃" in stream.getvalue()


def test_no_cell_moves_the_cursor(capsys):
    print_table(["name"], [["a\x1b[2J\nb"]])
    assert capsys.readouterr().out == "name\na\\x1b[2J\\nb\n"
