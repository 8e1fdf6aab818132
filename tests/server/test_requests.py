"""Lines of the log and ids of requests."""

import io
import json
import logging
import time

import pytest

from crosslens.server.requests import JsonLines, TextLines, log_as_told
from crosslens.server.settings import ServerSettings

WORDS = {"parts": [{"text": "circle"}], "top": 2}


@pytest.fixture
def written(request):
    """What the package logs at debug in a form; a list of lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(request.param())
    logger = logging.getLogger("crosslens")
    level, others = logger.level, logger.handlers[:]
    logger.handlers[:] = [handler]
    logger.setLevel("DEBUG")
    yield lambda: stream.getvalue().splitlines()
    logger.handlers[:] = others
    logger.setLevel(level)


def lines_of(written, word, count=1):
    """The lines with a word; a request's own is written after its answer."""
    for _ in range(500):
        found = [line for line in written() if word in line]
        if len(found) >= count:
            break
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("written", [JsonLines], indirect=True)
def test_a_search_is_one_object(served, written):
    answer = served.ask(WORDS, headers={"X-Request-ID": "from-the-proxy-1"})
    assert answer.headers["X-Request-ID"] == "from-the-proxy-1"
    (line,) = lines_of(written, "from-the-proxy-1")
    told = json.loads(line)
    assert told["milliseconds"] > 0
    assert told["logger"] == "crosslens.server.requests"
    assert {key: told[key] for key in ("level", "request", "client", "method", "path", "status")} == {
        "level": "info",
        "request": "from-the-proxy-1",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/api/v1/collections/pictures.index/search",
        "status": 200,
    }


@pytest.mark.parametrize("written", [TextLines], indirect=True)
def test_a_path_cannot_forge_a_line(served, written):
    answer = served.client.get("/x%0A2026-01-01T00:00:00.000Z%20INFO%20forged%1b[2J")
    (line,) = lines_of(written, answer.headers["X-Request-ID"])
    assert "\\n2026" in line
    assert "\\x1b" in line
    assert " 404 " in line


@pytest.mark.parametrize("written", [TextLines], indirect=True)
@pytest.mark.parametrize(("place", "level"), [("/health", "DEBUG"), ("/api/v1/collections", "INFO")])
def test_what_is_asked_all_the_time_is_said_with_debug_alone(served, written, place, level):
    answer = served.client.get(place)
    (line,) = lines_of(written, answer.headers["X-Request-ID"])
    assert f" {level} " in line


@pytest.mark.parametrize("sent", ["a b", "x" * 200, "é".encode("latin-1")])
def test_an_id_that_is_none_is_replaced(served, sent):
    given = served.client.get("/health", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert len(given) == 32
    assert given != served.client.get("/health").headers["X-Request-ID"]


@pytest.mark.parametrize("written", [JsonLines], indirect=True)
def test_a_defect_is_logged_under_its_request(served, written, monkeypatch):
    monkeypatch.setattr(type(served.service.ready), "is_set", lambda _: 1 / 0)
    answer = served.client.get("/ready", headers={"X-Request-ID": "broken-1"})
    monkeypatch.undo()
    assert answer.status_code == 500
    defect, request = (json.loads(line) for line in lines_of(written, "broken-1", 2))
    assert "ZeroDivisionError" in defect["traceback"]
    assert request["status"] == 500


def test_settings_decide(built_index):
    names = ("crosslens", "uvicorn")
    before = [(log, log.handlers[:], log.level, log.propagate) for log in map(logging.getLogger, names)]
    try:
        log_as_told(ServerSettings(indexes=(built_index,), log_level="error", log_json=True))
        for name in names:
            (handler,) = logging.getLogger(name).handlers
            assert isinstance(handler.formatter, JsonLines)
        assert logging.getLogger("crosslens.server.requests").getEffectiveLevel() == logging.ERROR
    finally:
        for log, handlers, level, propagate in before:
            log.handlers[:], log.propagate = handlers, propagate
            log.setLevel(level)
