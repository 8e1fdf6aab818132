"""Commands ask a server of the same user that holds their index, and else answer for themselves."""

import socket
import stat

import pytest

import crosslens.cli.search
from crosslens.cli.running import ask_running
from crosslens.search.index.index import Index
from crosslens.server.collection import Collection
from crosslens.server.local import LocalSocket
from crosslens.support.local_socket import receive, send, socket_of
from testing.servers import running

HIT = "photo/circle/00.png"


@pytest.fixture
def place(own_index):
    found = socket_of(own_index)
    assert found is not None
    return found


@pytest.fixture
def answering(own_index):
    local = LocalSocket(Collection(Index.open(own_index)))
    local.start()
    yield local
    local.close()


def unable(*arguments):
    raise AssertionError("the command answered by itself")


def test_the_output_is_the_same(own_index, cli, pictures_root, monkeypatch):
    picture = pictures_root / HIT
    calls = [
        ("search", own_index, "--image", picture, "--top", 4, "--domain", "auto"),
        ("search", own_index, "--image", picture, "--goal", "kind"),
        ("search", own_index, "--like", HIT, "--fold", 0.9, "--sort", "-id"),
        ("search", own_index, "--image", picture, "--like", HIT, "--where", "label = 'cross'", "--min-match", 0),
        ("search", own_index, "--image", picture, "--region", "0,0,0.5,1", "--rerank", "aqe"),
    ]
    expected = [cli(*call) for call in calls]
    assert all(status == 0 for status, _, _ in expected)
    with running(own_index), monkeypatch.context() as patch:
        patch.setattr(crosslens.cli.search, "_answer_here", unable)
        assert [cli(*call)[:2] for call in calls] == [(status, out) for status, out, _ in expected]


def test_what_a_server_refuses_the_command_refuses_too(own_index, cli, tmp_path):
    calls = [
        ("search", own_index, "--image", tmp_path / "none.png"),
        ("search", own_index, "--like", "none"),
        ("search", own_index, "--like", HIT, "--sort", "colour"),
    ]

    def refusals():
        # The server of this test runs in the same process, and says what it does too.
        return [(status, err.splitlines()[-1]) for status, _, err in (cli(*call) for call in calls)]

    expected = refusals()
    assert all(status != 0 for status, _ in expected)
    with running(own_index):
        assert refusals() == expected


def test_only_its_user_may_ask(answering, place):
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_another_user_is_not_answered(answering, own_index, monkeypatch):
    assert ask_running(own_index, {"like": [HIT]}) is not None
    monkeypatch.setattr("crosslens.server.local.is_same_user", lambda connection: False)
    assert ask_running(own_index, {"like": [HIT]}) is None


def test_a_socket_that_was_left_does_no_harm(own_index, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    assert place.exists()
    assert ask_running(own_index, {"like": [HIT]}) is None
    local = LocalSocket(Collection(Index.open(own_index)))
    local.start()
    assert ask_running(own_index, {"like": [HIT]})["items"] == 16
    local.close()
    assert not place.exists()


def test_of_two_servers_the_first_answers(answering, own_index, place):
    second = LocalSocket(Collection(Index.open(own_index)))
    second.start()
    second.close()
    assert ask_running(own_index, {"like": [HIT]}) is not None


@pytest.mark.parametrize("asked", [[], {}, {"index": "/", "asked": {}}, {"index": 1, "asked": {"images": 3}}])
def test_nonsense_ends_no_server(answering, own_index, place, asked):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place))
        send(connection, asked)
        assert "refused" in receive(connection)
    assert ask_running(own_index, {"like": [HIT]}) is not None
