"""The report as a person sees it: pictures in the first screen, no sideways scroll on a phone, maps that show."""

import pytest

from crosslens.data.catalog import Catalog
from crosslens.report import Section, write_report
from testing.browser import browsing


@pytest.fixture(scope="module")
def browser():
    with browsing() as started:
        yield started


@pytest.fixture
def page(make_world, tmp_path):
    world = make_world(classes=("cat", "dog", "a class of a very long name, as people have them"))
    weak, strong = world.vectors(0.3), world.vectors(1.5)
    return write_report(
        Section("Results", {"frozen": world.evaluation(weak), "ucdir": world.evaluation(strong)}),
        tmp_path / "report.html",
        title="A page",
        catalog=world.catalog,
        embeddings=world.embeddings(frozen=weak, ucdir=strong),
        log=[{"epoch": epoch, "losses": {"total": 1.0}} for epoch in range(3)],
        settings={"method": "ucdir", "settings": {"augmentation": "x" * 300}},
        credits=["Drawn by Ann."],
    )


@pytest.mark.parametrize("width", [375, 768, 1300])
def test_nothing_runs_out_of_the_screen(browser, page, width):
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(page.as_uri())
    for closed in tab.query_selector_all("details:not([open]) > summary"):
        closed.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    top = tab.query_selector(".card img").bounding_box()
    assert top["y"] + top["height"] < 800
    tab.close()


def test_a_point_of_the_map_shows_its_picture(browser, page):
    tab = browser.new_page(viewport={"width": 1300, "height": 900})
    told = []
    tab.on("console", lambda message: told.append(message.text))
    tab.goto(page.as_uri())
    spot = tab.query_selector(".spot")
    shown = "e => getComputedStyle(e, '::after').content"
    assert spot.evaluate(shown) == "none"
    spot.scroll_into_view_if_needed()
    spot.hover(force=True)
    on_top = tab.query_selector(".spot:hover")
    assert on_top.evaluate(shown) != "none"
    image = on_top.evaluate("e => getComputedStyle(e, '::after').backgroundImage")
    assert image.startswith('url("data:image/jpeg')
    # The page's own policy lets the picture through.
    assert told == []
    tab.close()


def test_without_labels_nothing_is_marked_and_maps_lie_side_by_side(browser, make_world, tmp_path):
    world = make_world()
    columns = ("id", "path", "domain")
    rows = zip(*map(world.catalog.column, columns), strict=True)
    bare = Catalog.from_rows([dict(zip(columns, row, strict=True)) for row in rows], world.catalog.root)
    weak, strong = world.vectors(0.3), world.vectors(1.5)
    page = write_report(
        [],
        tmp_path / "bare.html",
        title="A page",
        catalog=bare,
        embeddings=world.embeddings(frozen=weak, ucdir=strong),
    )
    tab = browser.new_page(viewport={"width": 1300, "height": 900})
    tab.goto(page.as_uri())
    assert tab.query_selector_all(".unjudged")
    assert not tab.query_selector_all(".unjudged .sign")
    headings = [heading.inner_text() for heading in tab.query_selector_all(".example h5")]
    assert set(headings) <= set(world.catalog.ids)
    assert len(set(headings)) > 1
    first, second = (image.bounding_box() for image in tab.query_selector_all("img.map"))
    assert first["y"] == second["y"]
    assert first["x"] + first["width"] < second["x"]
    tab.close()
