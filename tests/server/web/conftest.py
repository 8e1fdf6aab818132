"""One server over the built-in animals for all tests of the page, and a browser for each file of them."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest

from testing.browser import Visit, browsing, need_browser, serving

CACHE = os.environ.get("CROSSLENS_CACHE")


@contextmanager
def own_cache():
    """The cache of this machine, where other tests have set one of theirs: the network is in it."""
    with pytest.MonkeyPatch.context() as patch:
        if CACHE is None:
            patch.delenv("CROSSLENS_CACHE", raising=False)
        else:
            patch.setenv("CROSSLENS_CACHE", CACHE)
        yield


@pytest.fixture(scope="session")
def animals():
    """The built-in animals and plants, drawn as lines and as coloured shapes; labels are concepts."""
    from crosslens.datasets.emoji import emoji_catalog

    with own_cache():
        return emoji_catalog("concept", ("line", "color"), groups=("Animals & Nature",))


@pytest.fixture(scope="session")
def indexes(animals, tmp_path_factory):
    """The same pictures under two encoders: ``looks`` in the space of features, ``words`` in that of words."""
    from crosslens.api import fit
    from crosslens.encoder import load_encoder
    from crosslens.search.index.index import Index

    folder = tmp_path_factory.mktemp("page")
    made = []
    with own_cache():
        for name, space in (("looks", "features"), ("words", "joint")):
            fit("centred", animals, out=folder / f"{name}-run", settings={"space": space})
            Index.build(animals, load_encoder(folder / f"{name}-run"), folder / name)
            made.append(folder / name)
    return made


@pytest.fixture(scope="session")
def _needed():
    """What every test of the page needs is there, before anything is made for them."""
    pytest.importorskip("fastapi", reason="the server's packages are not installed (crosslens[serve])")
    need_browser()


@pytest.fixture(scope="session")
def address(_needed, indexes):
    """Address of a running ``crosslens serve`` over both indexes."""
    with ExitStack() as stack:
        with own_cache():
            found = stack.enter_context(serving(*indexes))
        wait_until_calibrated(found)
        yield found


def wait_until_calibrated(address):
    """The server answers before it knows how likely a match is; tests look at that too."""
    for _ in range(2400):
        with urllib.request.urlopen(address + "api/v1/collections", timeout=60) as answer:
            if all(collection["calibrated"] for collection in json.load(answer)):
                return
        time.sleep(0.1)
    raise AssertionError("the server was not calibrated within minutes")


@pytest.fixture(scope="module")
def browser(_needed):
    """The system's Chromium, without a window."""
    with browsing() as started:
        yield started


@pytest.fixture
def visiting(browser, address):
    """A factory of tabs: ``visiting(color_scheme=...)``; what each asked for is checked at the end."""
    visits = []

    def make(*, address: str = address, hash: str = "", **options) -> Visit:
        # What a service worker asks for, a test cannot answer in the server's place.
        usual = {"viewport": {"width": 1280, "height": 860}, "service_workers": "block"}
        context = browser.new_context(**(usual | options))
        context.set_default_timeout(120_000)
        visit = Visit(context.new_page(), address)
        visits.append(visit)
        return visit.open(hash)

    yield make
    for visit in visits:
        visit.page.context.close()
    for visit in visits:
        visit.check()


@pytest.fixture
def visit(visiting):
    """A tab on the page as it opens."""
    return visiting()
