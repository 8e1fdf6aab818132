"""Token buckets, by a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from crosslens.server.rate import RateLimit, client_of
from testing.servers import is_problem, running


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@given(
    rate=st.floats(0.5, 20),
    burst=st.floats(1, 20),
    waits=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_never_more_than_burst_and_rate_allow(rate, burst, waits):
    clock = Clock()
    limit = RateLimit(rate, burst, clock=clock)
    taken = 0
    for wait in waits:
        clock.now += wait
        if limit.take("a") == 0:
            taken += 1
        assert taken <= burst + rate * clock.now + 1e-6


def test_the_wait_told_is_enough():
    clock = Clock()
    limit = RateLimit(2, 1, clock=clock)
    assert limit.take("a") == 0
    wait = limit.take("a")
    assert wait == 0.5
    clock.now += wait
    assert limit.take("a") == 0


def test_clients_do_not_share_and_memory_is_bounded():
    limit = RateLimit(1, 1, clients=10, clock=Clock())
    assert limit.take("a") == 0
    assert limit.take("b") == 0
    assert limit.take("a") > 0
    for number in range(100):
        limit.take(str(number))
    assert len(limit) == 10


def test_who_an_address_is():
    assert client_of("10.0.0.1") == client_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert client_of("2001:db8::1") == client_of("2001:db8::2") != client_of("2001:db8:0:1::1")
    assert client_of(None) == client_of("nonsense") == "unknown"


def test_over_http(own_index):
    with running(own_index, rate=0.5, burst=3) as server:
        place = "/api/v1/collections/own.index/search"
        answers = [server.client.post(place, json={}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [422, 422, 422, 429]
        is_problem(answers[-1], 429)
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
        assert server.client.get("/health").status_code == 200


def test_guessed_keys_are_limited_by_address(own_index, tmp_path):
    from crosslens.server.keys import add_key

    key = add_key(tmp_path / "keys.json", "a", "read")
    with running(own_index, rate=0.5, burst=3, api_key_file=tmp_path / "keys.json") as server:
        place = "/api/v1/collections"
        wrong = {"X-API-Key": "cl_guess"}
        assert [server.client.get(place, headers=wrong).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert server.client.get(place, headers={"X-API-Key": key}).status_code == 200
