"""The bench of idle connections runs, and shows that they cost no thread."""

from tests.bench import idle_connections


def test_it_shows_what_connections_cost(capsys):
    idle_connections.main(["--connections", "40"])
    none, idle, slow = capsys.readouterr().out.splitlines()
    assert idle.startswith("40 idle to each")
    assert slow.startswith("40 slow to each")
    assert len({line.split(" threads")[0].split()[-1] for line in (none, idle, slow)}) == 1
