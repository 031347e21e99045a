"""What shows that a sound device came or went."""

import socket

from monitor.capture import retry
from monitor.capture.retry import sound_devices


def test_a_card_or_a_node_that_comes_is_seen(monkeypatch, tmp_path):
    nodes, cards = tmp_path / "snd", tmp_path / "cards"
    monkeypatch.setattr(retry, "_NODES", nodes)
    monkeypatch.setattr(retry, "_CARDS", cards)
    seen = [sound_devices({})]
    nodes.mkdir()
    (nodes / "pcmC1D0c").touch()
    seen.append(sound_devices({}))
    cards.write_text(" 1 [USB]")
    seen.append(sound_devices({}))
    assert len(set(seen)) == 3
    assert sound_devices({}) == seen[-1]


def test_a_sound_server_that_was_restarted_is_seen(tmp_path):
    (tmp_path / "pulse").mkdir()
    path = tmp_path / "pulse" / "native"
    seen = []
    for environ in ({"XDG_RUNTIME_DIR": str(tmp_path)}, {"PULSE_SERVER": f"unix:{path}"}):
        seen.append(sound_devices(environ))
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            seen.append(sound_devices(environ))
            assert sound_devices(environ) == seen[-1]
        path.unlink()
    assert seen[0] != seen[1]
    assert seen[2] != seen[3]
