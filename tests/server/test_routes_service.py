"""Health, metrics, the reference, the page, and the whole API against its own description."""

import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families

from crosslens.server import reference, routes_service
from crosslens.server.collection import Collection
from crosslens.server.guards import SAFE_HEADERS
from crosslens.server.keys import add_key
from crosslens.server.problems import EXPLAINED
from testing.servers import is_problem, plain, running


def metrics(server):
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def test_health_and_readiness(served):
    assert served.client.get("/health").json() == {"status": "ok"}
    assert served.client.get("/ready").json() == {"status": "ok"}
    served.service.ready.clear()
    try:
        assert "retry-after" in served.client.get("/ready").headers
        is_problem(served.client.get("/ready"), 503)
    finally:
        served.service.ready.set()


def test_metrics_count_stages_and_requests(served):
    before = metrics(served)
    for _ in range(3):
        assert served.search({"parts": [{"image": 0}]}, plain()).status_code == 200
    served.client.get("/api/v1/nothing/at/all")
    served.client.request("BREW", "/coffee")
    after = metrics(served)

    def grown(*key):
        return after.get(key, 0) - before.get(key, 0)

    place = "/api/v1/collections/{name}/search"
    assert grown("crosslens_requests_total", place, "200", "POST") == 3
    for stage in ("read", "decode", "queue", "embed", "search"):
        assert grown("crosslens_stage_seconds_count", stage) == 3, stage
    assert grown("crosslens_batch_images_sum") == 3
    assert after["crosslens_items", "pictures.index"] == 32
    labels = {key[1:] for key in after if key[0] == "crosslens_requests_total"}
    assert not any("coffee" in part or "nothing" in part or "BREW" in part for label in labels for part in label)


def test_requests_at_once_share_batches(served, monkeypatch):
    (batcher,) = served.service.embedding._batchers.values()
    real = batcher._run

    def slow(pixels):
        # A network of its size; the tiny one is done before the next picture is there.
        time.sleep(0.05)
        return real(pixels)

    monkeypatch.setattr(batcher, "_run", slow)
    before = metrics(served)
    pictures = [plain((n, 2 * n, 200)) for n in range(32)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda picture: served.search({"parts": [{"image": 0}], "top": 1}, picture), pictures)
        )
    assert {answer.status_code for answer in answers} == {200}
    after = metrics(served)
    batches = after["crosslens_batch_images_count",] - before["crosslens_batch_images_count",]
    images = after["crosslens_batch_images_sum",] - before["crosslens_batch_images_sum",]
    assert images == 32
    assert batches < 24


def test_a_client_that_left_is_not_worked_for(own_index):
    with running(own_index) as server:
        (batcher,) = server.service.embedding._batchers.values()
        real, gate, seen = batcher._run, threading.Event(), []

        def slow(pixels):
            seen.append(len(pixels))
            gate.wait(120)
            return real(pixels)

        batcher._run = slow
        impatient = httpx2.Client(base_url=server.url, timeout=0.5)
        place = "/api/v1/collections/own.index/search"
        data, files = {"query": '{"parts":[{"image":0}]}'}, [("images", plain())]
        threads = len(batcher._threads)
        for _ in range(threads + 3):
            with pytest.raises(httpx2.TimeoutException):
                impatient.post(place, data=data, files=files)
        impatient.close()
        time.sleep(0.3)
        gate.set()
        assert server.search({"parts": [{"image": 0}]}, plain(), name="own.index").status_code == 200
        # Those whose clients left while they waited never reached the network.
        assert sum(seen) == threads + 1


def test_a_full_queue_says_when_to_come_back(own_index):
    with running(own_index, queue=1) as server:
        two = {"parts": [{"image": 0}, {"image": 1}]}
        answer = server.search(two, plain(), plain((1, 2, 3)), name="own.index")
        is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert server.search({"parts": [{"image": 0}]}, plain(), name="own.index").status_code == 200


def test_probabilities_of_a_match(served):
    for _ in range(2400):
        if served.client.get("/api/v1/collections").json()[0]["calibrated"]:
            break
        time.sleep(0.05)
    answer = served.ask({"parts": [{"like": "photo/circle/00.png"}]}).json()
    assert 0 < answer["match_probability"] < 1
    assert answer["no_match"] is False
    rejected = served.ask({"parts": [{"like": "photo/circle/00.png"}], "min_match": 1.0}).json()
    assert rejected["no_match"] is True
    assert rejected["hits"] == []


def test_a_defect_is_counted_answered_and_logged_alone(own_index, monkeypatch, caplog):
    def broken(self):
        raise RuntimeError("secret of /etc/passwd")

    with running(own_index) as server:
        monkeypatch.setattr(Collection, "info", broken)
        answer = server.client.get("/api/v1/collections")
        document = is_problem(answer, 500)
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        assert document["detail"] == EXPLAINED[500]
        for name, value in SAFE_HEADERS.items():
            assert answer.headers[name] == value
        assert answer.headers["cache-control"] == "no-store"
        counted = metrics(server)
        assert counted["crosslens_requests_total", "/api/v1/collections", "500", "GET"] == 1
        assert ("crosslens_requests_total", "/api/v1/collections", "499", "GET") not in counted
        assert server.client.get("/health").status_code == 200
    assert "secret of /etc/passwd" in caplog.text


def test_a_client_that_leaves_while_it_sends_is_no_defect(own_index, caplog):
    place = "/api/v1/collections/own.index/items"
    head = (
        f"POST {place} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    with running(own_index) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode())
            time.sleep(0.2)
        for _ in range(2400):
            counted = metrics(server)
            if ("crosslens_requests_total", "/api/v1/collections/{name}/items", "499", "POST") in counted:
                break
            time.sleep(0.05)
        assert counted["crosslens_requests_total", "/api/v1/collections/{name}/items", "499", "POST"] == 1
    assert "failed" not in caplog.text


def test_the_reference_is_made_once_and_beside_other_requests(own_index, monkeypatch):
    made, real = [], reference.reference_page

    def counted(api):
        made.append(threading.current_thread().name)
        return real(api)

    monkeypatch.setattr(reference, "reference_page", counted)
    with running(own_index) as server:
        with ThreadPoolExecutor(8) as pool:
            pages = list(pool.map(lambda _: server.client.get("/docs").text, range(16)))
        assert set(pages) == {real(server.app.openapi())}
    assert len(made) == 1
    assert made[0].startswith("request")


def test_the_reference_asks_nothing_of_other_hosts(served):
    for place in ("/", "/docs", "/docs.css", "/docs.js"):
        text = served.client.get(place).text
        assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
        assert "url(" not in text
        assert "<script" not in text or place in ("/", "/docs")
    docs = served.client.get("/docs").text
    for path in served.client.get("/openapi.json").json()["paths"]:
        assert path.replace("{", "{") in docs
    assert 'id="problem-404"' in docs
    # Descriptions are CommonMark, of which the page knows code.
    assert "`" not in docs.split("<h2>Documents</h2>")[0]
    assert "<code>images</code>" in docs
    # What sends requests comes from this server, as its Content-Security-Policy asks.
    assert docs.count("<script") == docs.count('<script src="docs.js"') == 1
    assert served.client.get("/docs.js").headers["content-type"].startswith("text/javascript")


def test_operations_have_short_names(served):
    api = served.client.get("/openapi.json").json()
    named = [operation["operationId"] for ways in api["paths"].values() for operation in ways.values()]
    assert len(set(named)) == len(named)
    assert {"search", "collections", "facets", "item", "jobs"} <= set(named)


def test_openapi_is_complete(served):
    api = served.client.get("/openapi.json").json()
    operations = [(path, method, op) for path, ways in api["paths"].items() for method, op in ways.items()]
    assert len(operations) >= 12
    for path, method, operation in operations:
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert "application/problem+json" in answer["content"], (path, method, status)
                assert "application/json" not in answer["content"], (path, method, status)
    references = set(re.findall(r"#/components/schemas/([A-Za-z_-]+)", str(api)))
    assert references <= set(api["components"]["schemas"])
    assert {"bearer", "header"} == set(api["components"]["securitySchemes"])


def test_the_page(own_index, tmp_path, monkeypatch):
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><title>page</title>")
    (web / "assets" / "index-abc.js").write_text("export {}")
    (web / "assets" / "secret.py").write_text("secret")
    monkeypatch.setattr(routes_service, "WEB", web)
    with running(own_index) as server:
        answer = server.client.get("/")
        assert "<title>page" in answer.text
        assert answer.headers["cache-control"] == "no-cache"
        script = server.client.get("/assets/index-abc.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        is_problem(server.client.get("/assets/secret.py"), 404)
        is_problem(server.client.get("/assets/nothing.js"), 404)
        is_problem(server.client.get("/nothing.js"), 404)
    with running(own_index, page=False) as server:
        assert 'href="docs"' in server.client.get("/").text
        is_problem(server.client.get("/assets/index-abc.js"), 404)
    (web / "index.html").unlink()
    with running(own_index) as server:
        assert 'href="docs"' in server.client.get("/").text


def test_the_api_keeps_its_own_description(own_index, tmp_path):
    """Schemathesis makes requests, good and bad, from the description, and checks every answer against it."""
    key = add_key(tmp_path / "keys.json", "tester", "write")
    with running(own_index, api_key_file=tmp_path / "keys.json") as server:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def keeps_it(case):
                if "name" in (case.path_parameters or {}):
                    case.path_parameters["name"] = "own.index"
                # No schema says which text is a query, or that parts must name every image: a 422 does.
                but = [schemathesis.checks.positive_data_acceptance]
                case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=but)

            keeps_it()
        assert server.client.get("/health").status_code == 200
