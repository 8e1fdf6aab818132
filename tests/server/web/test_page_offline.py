"""The page opens without its server, below a path too, and keeps nothing but itself."""

import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

import crosslens.server

WEB = Path(crosslens.server.__file__).parent / "web"
KEPT = """async () => {
    const caches = await window.caches.keys();
    const kept = await Promise.all(caches.map(async (name) => (await window.caches.open(name)).keys()));
    return kept.flat().map(({url}) => url).sort();
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Sends files without their time, which tells two pages of one second not apart; or what a proxy sends while
    the server behind it is gone."""

    gone = False

    def do_GET(self):
        if Quiet.gone:
            self.send_error(502)
        else:
            super().do_GET()

    def send_header(self, keyword, value):
        if keyword != "Last-Modified":
            super().send_header(keyword, value)

    def log_message(self, *words):
        pass


@pytest.fixture
def site(tmp_path):
    """The built page below a path, beside an API without collections: its folder, its address, how it stops."""
    folder = tmp_path / "a" / "b"
    shutil.copytree(WEB, folder)
    (folder / "api" / "v1").mkdir(parents=True)
    (folder / "api" / "v1" / "collections").write_text("[]")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()

    yield folder, f"http://127.0.0.1:{server.server_port}/a/b/", stop
    stop()


@pytest.fixture
def page(browser):
    context = browser.new_context()
    yield context.new_page()
    context.close()


def named(folder):
    return re.findall(r'(?:src|href)="\./([^"]+)"', (folder / "index.html").read_text())


def test_it_opens_without_its_server_and_keeps_itself_alone(page, site):
    folder, address, stop = site
    page.goto(address)
    page.get_by_text("No collection is served").wait_for()
    page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    page.reload()
    page.wait_for_function("navigator.serviceWorker.controller !== null")
    page.get_by_text("No collection is served").wait_for()
    assert page.evaluate(KEPT) == sorted([address, *(address + path for path in named(folder))])
    assert page.evaluate("navigator.serviceWorker.controller.scriptURL") == address + "sw.js"
    stop()
    page.reload()
    page.get_by_text("The server does not answer").wait_for()


def test_it_opens_where_a_proxy_answers_for_the_server_that_does_not(page, site, monkeypatch):
    """HTTPS mostly comes from a proxy, which goes on answering: 502 instead of the page."""
    _, address, _ = site
    page.goto(address)
    page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    page.reload()
    page.wait_for_function("navigator.serviceWorker.controller !== null")
    page.get_by_text("No collection is served").wait_for()
    monkeypatch.setattr(Quiet, "gone", True)
    page.reload()
    page.get_by_text("The server does not answer").wait_for()
    assert page.evaluate("fetch('icon.svg').then((answer) => answer.status)") == 200
    monkeypatch.setattr(Quiet, "gone", False)
    # The page keeps trying by itself.
    page.get_by_text("No collection is served").wait_for()


def test_a_new_page_takes_the_place_of_the_old_one(page, site):
    folder, address, _ = site
    page.goto(address)
    page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
    (style,) = (path for path in named(folder) if path.endswith(".css"))
    (folder / style).rename(folder / "assets" / "new.css")
    html = (folder / "index.html").read_text()
    (folder / "index.html").write_text(html.replace(style, "assets/new.css"))
    page.reload()
    page.wait_for_function(f"async () => (await ({KEPT})()).join().includes('new.css')")
    page.wait_for_function(f"async () => !(await ({KEPT})()).join().includes({style!r})")
    # What is no page of ours, such as the login of a proxy, is shown and not kept.
    (folder / "index.html").write_text("<title>Log in</title>")
    page.reload()
    assert page.title() == "Log in"
    assert any("new.css" in url for url in page.evaluate(KEPT))


def test_the_manifest_stays_below_its_own_path():
    manifest = json.loads((WEB / "manifest.webmanifest").read_text())
    places = [
        manifest["id"],
        manifest["start_url"],
        manifest["scope"],
        *(icon["src"] for icon in manifest["icons"]),
    ]
    assert not [place for place in places if place.startswith("/") or ":" in place]
    for icon in manifest["icons"]:
        if icon["sizes"] != "any":
            with Image.open(WEB / icon["src"]) as picture:
                assert "{}x{}".format(*picture.size) == icon["sizes"]
        assert (WEB / icon["src"]).is_file()
    assert {"192x192", "512x512"} <= {icon["sizes"] for icon in manifest["icons"]}
