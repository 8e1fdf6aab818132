"""``crosslens open``: what is served, and where."""

import pytest

from crosslens.api import opening
from testing.tiny_pictures import make_pictures

server = pytest.importorskip("crosslens.server.run")


@pytest.fixture
def served(monkeypatch):
    """Instead of serving, keep what would be served and say the address."""
    from crosslens.server.listening import PortTakenError

    settings = []

    def serve(asked, announce):
        settings.append(asked)
        if asked.port == 8000 and len(settings) < 2:
            raise PortTakenError("port 8000 is taken")
        announce(f"http://127.0.0.1:{asked.port or 4321}")

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(opening, "EVERYDAY", "tiny")
    return settings


def test_pictures_are_indexed_and_the_page_is_named(cli, served, tmp_path):
    photos = make_pictures(tmp_path / "p", 2)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    place = tmp_path / "i"
    status, text, err = cli("open", photos, "--index", place, "--no-browser")
    assert status == 0, err
    assert "http://127.0.0.1:4321" in text
    assert "16 pictures can be searched (16 new" in err
    assert "broken.jpg" in err
    # The usual port was taken, so any other is.
    assert [one.port for one in served] == [8000, 0]
    assert served[0].indexes == (place,)
    assert served[0].on_loopback
    assert not list(place.glob(".open-*"))
    status, text, _ = cli("open", place, "--no-browser", "--port", 81)
    assert (status, served[-1].port) == (0, 81)


def test_a_port_that_was_asked_for_is_taken_or_nothing(cli, served, tmp_path):
    photos = make_pictures(tmp_path / "p", 2)
    status, _, err = cli("open", photos, "--index", tmp_path / "i", "--no-browser", "--port", 8000)
    assert status == 1
    assert "taken" in err
