"""Behind a reverse proxy: a path in front, another ``Host``, forwarded addresses."""

import re
from urllib.parse import urljoin

import pytest
from pydantic import ValidationError

from crosslens.server.settings import ServerSettings
from testing.servers import is_problem, running

COLLECTION = "/api/v1/collections/pictures.index"
WORDS = {"parts": [{"text": "circle"}], "top": 2}


@pytest.fixture(scope="module")
def below(built_index):
    with running(built_index, root_path="/photos/", trust_proxy="127.0.0.1") as server:
        yield server


@pytest.mark.parametrize("handed_on", ["", "/photos"])
def test_a_path_may_be_stripped_or_handed_on(below, handed_on):
    client = below.client
    assert client.get(f"{handed_on}/").text.startswith("<!doctype html>")
    hit = client.post(f"{handed_on}{COLLECTION}/search", json=WORDS).json()["hits"][0]
    assert hit["thumbnail"].startswith(f"/photos{COLLECTION}/thumbnail?id=")
    for place in (hit["thumbnail"], hit["image"]):
        assert client.get(place.removeprefix("/photos") if not handed_on else place).status_code == 200
    missing = is_problem(client.get(f"{handed_on}/api/v1/collections/none"), 404)
    assert missing["type"] == "/photos/docs#problem-404"
    assert client.get(f"{handed_on}/openapi.json").json()["servers"] == [{"url": "/photos"}]


def test_every_address_of_the_reference_stays_below_the_path(below):
    page = client_page = below.client.get("/docs").text
    found = re.findall(r'(?:href|src)="([^"]+)"', client_page)
    assert found
    for place in found:
        whole = urljoin("http://host/photos/docs", place)
        assert whole.startswith("http://host/photos/"), page
        assert below.client.get(whole.removeprefix("http://host")).status_code == 200


def test_a_job_is_found_below_the_path(below):
    answer = below.client.request("DELETE", f"{COLLECTION}/items", json={"ids": ["none.png"]})
    assert answer.status_code in (202, 404)
    if answer.status_code == 202:
        assert answer.headers["location"].startswith("/photos/api/v1/jobs/")


@pytest.mark.parametrize("wrong", ["/api", "docs/x", "/a//b", "/a b", "http://x/y", "/..", "/a?b"])
def test_a_path_that_cannot_be_one(wrong, built_index):
    with pytest.raises(ValidationError):
        ServerSettings(indexes=(built_index,), root_path=wrong)


BROWSER = {"Origin": "https://search.example.org", "Host": "inner:8000"}


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ("search.example.org", 200),
        ("forged.example, search.example.org", 200),
        ("search.example.org, other.example", 403),
        ("", 403),
    ],
)
def test_a_proxy_that_rewrites_host(built_index, named, status):
    options = {"trust_proxy": "127.0.0.1", "allow_hosts": ("search.example.org", "inner", "other.example")}
    with running(built_index, **options) as server:
        answer = server.ask(WORDS, headers=BROWSER | {"X-Forwarded-Host": named})
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("trusted", [None, "192.0.2.1"])
def test_nobody_else_is_believed(built_index, trusted):
    with running(built_index, trust_proxy=trusted, allow_hosts=("search.example.org", "inner")) as server:
        is_problem(server.ask(WORDS, headers=BROWSER | {"X-Forwarded-Host": "search.example.org"}), 403)


def test_the_rate_is_that_of_forwarded_addresses(built_index):
    with running(built_index, trust_proxy="127.0.0.1", rate=0.001, burst=1) as server:
        asked = [
            server.ask(WORDS, headers={"X-Forwarded-For": address}).status_code
            for address in ("192.0.2.7", "192.0.2.7", "192.0.2.8")
        ]
    assert asked == [200, 429, 200]
