"""Changing a collection from the page: adding pictures, removing hits, and what was liked and is gone."""

import io
import json
import urllib.request

import pytest
from PIL import Image

from testing.browser import serving

from .conftest import own_cache, wait_until_calibrated

SEARCHED = "#c=few&q=text%3A1%3Acat&top=10"


@pytest.fixture(scope="module")
def few(browser, animals, tmp_path_factory):
    """Address of a server over a few pictures, which tests may change."""
    from crosslens.backbones import load_backbone
    from crosslens.encoder.untrained import frozen_encoder
    from crosslens.search.index.index import Index

    folder = tmp_path_factory.mktemp("changes")
    with own_cache():
        chosen = animals.select(domains=["color"]).take(range(0, 150, 4))
        Index.build(chosen, frozen_encoder(load_backbone("lite"), joint=True), folder / "few")
        with serving(folder / "few") as found:
            wait_until_calibrated(found)
            yield found


@pytest.fixture
def searched(visiting, few):
    visit = visiting(address=few, hash=SEARCHED)
    visit.settle()
    return visit


def ids(visit):
    pictures = visit.page.locator(".hit-picture img")
    return pictures.evaluate_all("all => all.map(one => new URL(one.src).searchParams.get('id'))")


def choose(visit, *places):
    for place in places:
        visit.page.locator(".hit-open").nth(place).focus()
        visit.page.keyboard.press("x")


def test_a_contact_sheet_shows_what_is_selected(searched):
    choose(searched, 0, 1, 2, 3, 4)
    with searched.page.expect_download() as taken:
        searched.page.get_by_role("button", name="Download as a contact sheet").click()
    assert taken.value.suggested_filename == "hits.png"
    with Image.open(taken.value.path()) as sheet:
        # Three columns and two rows, of which the last place is empty.
        assert sheet.size == (16 + 3 * 216, 16 + 2 * 260)
        first, last = (sheet.convert("L").crop((x, y, x + 200, y + 200)) for x, y in ((16, 16), (448, 276)))
    assert first.getextrema()[0] < 200
    assert last.getextrema() == (255, 255)


def test_hits_are_removed_after_a_question(searched):
    page, before = searched.page, ids(searched)
    choose(searched, 0, 2)
    page.get_by_role("button", name="Remove ...").click()
    page.get_by_role("button", name="Keep").click()
    assert ids(searched) == before
    page.get_by_role("button", name="Remove ...").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_text("2 pictures removed from few").wait_for()
    searched.settle()
    assert not {before[0], before[2]} & set(ids(searched))
    assert before[1] in ids(searched)
    assert page.locator(".selection").count() == 0


def test_an_index_that_is_only_read_offers_no_change(searched):
    page = searched.page

    def as_read_only(route):
        answer = route.fetch()
        route.fulfill(response=answer, json=[one | {"writable": False} for one in answer.json()])

    assert page.get_by_role("button", name="Add pictures to the collection").count() == 1
    page.route("**/api/v1/collections", as_read_only)
    page.reload()
    searched.settle()
    choose(searched, 0)
    page.get_by_role("button", name="Copy paths").wait_for()
    assert page.get_by_role("button", name="Remove ...").count() == 0
    assert page.get_by_role("button", name="Add pictures to the collection").count() == 0


def test_pictures_are_added_and_found(searched):
    page = searched.page
    picture = io.BytesIO()
    Image.new("RGB", (80, 80), (200, 30, 30)).save(picture, "PNG")
    page.get_by_role("button", name="Add pictures to the collection").click()
    files = [{"name": "red.png", "mimeType": "image/png", "buffer": picture.getvalue()}]
    page.locator("dialog input[type=file]").set_input_files(files)
    assert page.get_by_label("They are").input_value() == "color"
    page.get_by_label("They show").fill("a red square")
    page.locator("dialog").get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("1 of 1 pictures are in few now").wait_for()
    page.locator("#words").fill("a plain red square")
    page.keyboard.press("Enter")
    searched.settle()
    assert "a red square" in searched.names()


def test_what_the_server_refuses_is_said_and_the_dialog_stays(searched):
    searched.expected = "422|Failed to load"
    page = searched.page
    page.get_by_role("button", name="Add pictures to the collection").click()
    files = [{"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"}]
    page.locator("dialog input[type=file]").set_input_files(files)
    page.locator("dialog").get_by_role("button", name="Add", exact=True).click()
    page.locator("dialog [role=alert]").wait_for()
    assert page.get_by_role("button", name="Add", exact=True).is_enabled()


def test_a_liked_picture_that_leaves_the_index_is_forgotten(searched, few):
    searched.expected = "422|404|Failed to load"
    page, before = searched.page, ids(searched)
    page.locator(".hit").first.hover()
    page.locator(".hit").first.locator("[aria-label^='Like ']").click()
    searched.settle()
    body = json.dumps({"ids": [before[0]]}).encode()
    headers = {"Content-Type": "application/json"}
    place = few + "api/v1/collections/few/items"
    with urllib.request.urlopen(urllib.request.Request(place, body, headers, method="DELETE")) as answer:
        job = json.load(answer)["job"]["id"]
    for _ in range(200):
        with urllib.request.urlopen(few + f"api/v1/jobs/{job}") as answer:
            if json.load(answer)["state"] == "done":
                break
        page.wait_for_timeout(100)
    page.locator("#words").fill("a dog")
    page.keyboard.press("Enter")
    page.get_by_text("A picture that you judged is no longer in few").wait_for()
    searched.settle()
    assert searched.searches()[-1]["liked"] == []
    assert ids(searched)
