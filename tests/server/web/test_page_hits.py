"""Hits on the page: selecting, downloading, judging, ordering them; words, and parts of pictures."""

import csv
import json

import pytest

SEARCHED = "#c=words&q=text%3A1%3Acat&top=10"


@pytest.fixture
def searched(visiting):
    """A tab with ten hits."""
    visit = visiting(hash=SEARCHED, permissions=["clipboard-read", "clipboard-write"])
    visit.settle()
    return visit


def ids(visit):
    pictures = visit.page.locator(".hit-picture img")
    return pictures.evaluate_all("all => all.map(one => new URL(one.src).searchParams.get('id'))")


def write(visit, words, press):
    visit.page.locator("#words").fill(words)
    press()
    visit.settle()


def answered(hits=(), **told):
    """An answer of the server."""
    rest = {"match_probability": None, "match_is_rough": False, "domain": None, "items": 9, "notes": []}
    return {"hits": list(hits), "no_match": False, "seconds": {}} | rest | told


def item(name, score):
    place = {"domain": "photo", "label": None, "folder": "", "size": None, "modified": None}
    return {"id": name, "score": score, "columns": {}, "duplicates": []} | place


class TestWords:
    def test_enter_replaces_and_add_mixes(self, searched):
        page = searched.page
        write(searched, "a guitar", lambda: page.keyboard.press("Enter"))
        write(searched, "a dog", lambda: page.keyboard.press("Enter"))
        assert searched.searches()[-1]["parts"] == [{"text": "a dog", "weight": 1}]
        assert "a+dog" in page.url
        assert "guitar" not in page.url
        write(searched, "snow", page.get_by_role("button", name="+ Add").click)
        assert searched.parts() == ["“a dog”", "“snow”"]
        write(searched, "a cat", page.get_by_role("button", name="Search with these words").click)
        assert searched.parts() == ["“a cat”"]


class TestSelection:
    def test_a_selection_outlives_the_search_and_is_downloaded(self, searched):
        page, first = searched.page, ids(searched)
        page.get_by_label(f"Select {searched.names()[0]}", exact=True).first.check()
        page.locator(".hit-open").nth(2).focus()
        page.keyboard.press("x")
        write(searched, "a fish", lambda: page.keyboard.press("Enter"))
        page.locator(".hit-open").first.focus()
        page.keyboard.press("x")
        chosen = [first[0], first[2], ids(searched)[0]]
        assert "3 selected" in page.locator(".selection").inner_text()
        page.get_by_role("button", name="Copy paths").click()
        page.get_by_text("3 paths copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()").split() == chosen

        with page.expect_download() as taken:
            page.get_by_role("button", name="Download as CSV").click()
        assert taken.value.suggested_filename == "hits.csv"
        with open(taken.value.path(), encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == chosen
        assert float(rows[2]["score"]) == pytest.approx(searched.scores()[0], abs=5e-4)
        with page.expect_download() as taken:
            page.get_by_role("button", name="Download as JSON").click()
        told = json.loads(taken.value.path().read_text("utf-8"))
        assert [(one["collection"], one["id"]) for one in told] == [("words", name) for name in chosen]

        page.get_by_role("button", name="Select all").click()
        assert f"{len({*chosen, *ids(searched)})} selected" in page.locator(".selection").inner_text()
        page.locator(".selection").get_by_role("button", name="Clear").click()
        assert page.locator(".selection").count() == 0

    @pytest.mark.slow
    def test_the_path_of_one_hit_is_copied(self, searched):
        page = searched.page
        page.locator(".hit-open").nth(1).focus()
        page.keyboard.press("c")
        page.get_by_text("Path copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == ids(searched)[1]


class TestJudging:
    def test_likes_and_dislikes_move_the_search_and_are_kept(self, searched):
        page, before = searched.page, ids(searched)
        for place, what in ((1, "Like"), (3, "Dislike")):
            card = page.locator(".hit", has=page.locator(f"img[src*='{before[place].replace('/', '%2F')}']"))
            card.hover()
            card.locator(f"[aria-label^='{what} ']").click()
            searched.settle()
        asked = searched.searches()[-1]
        assert (asked["liked"], asked["disliked"]) == ([before[1]], [before[3]])
        assert asked["parts"] == [{"text": "cat", "weight": 1}]
        assert before[3] not in ids(searched)
        page.reload()
        searched.settle()
        assert searched.searches()[-1] == asked
        with page.expect_download() as taken:
            page.get_by_role("button", name="Download the list").click()
        lines = taken.value.path().read_text("utf-8-sig").splitlines()
        assert lines == ["collection,id,judged", f"words,{before[1]},liked", f"words,{before[3]},disliked"]
        page.get_by_role("button", name="Forget all").click()
        searched.settle()
        assert ids(searched) == before

    def test_different_ones(self, searched):
        button = searched.page.get_by_role("button", name="Show different ones")
        button.click()
        searched.settle()
        assert searched.searches()[-1]["rerank"] == "mmr"
        assert button.get_attribute("aria-pressed") == "true"
        button.click()
        searched.settle()
        assert searched.searches()[-1]["rerank"] is None


def test_order_by_the_date_taken(visiting):
    visit = visiting()

    def described(route):
        about = route.fetch().json()
        about[0]["columns"] = {"taken": "date", "tags": "list"}
        route.fulfill(status=200, json=about)

    visit.page.route("**/api/v1/collections", described)
    visit.page.route("**/facets", lambda route: route.fulfill(status=200, json={"columns": {}}))
    visit.page.route("**/search", lambda route: route.fulfill(status=200, json=answered()))
    visit.page.goto(visit.address + "#c=looks&q=like%3A1%3Alooks%3Aline%2F1F431")
    visit.page.reload()
    visit.page.get_by_text("Options").click()
    order = visit.page.get_by_role("combobox", name="Order")
    assert "tags" not in order.inner_text()
    order.select_option(label="taken, newest first")
    visit.settle()
    assert visit.searches()[-1]["sort"] == "-taken"
    assert "sort=-taken" in visit.page.url


class TestMatch:
    @pytest.mark.parametrize("rough", [True, False])
    def test_no_number_for_a_rough_probability(self, visiting, rough):
        visit = visiting()
        answer = answered([item("a.jpg", 0.5)], match_probability=0.12, match_is_rough=rough)
        visit.page.route("**/search", lambda route: route.fulfill(status=200, json=answer))
        visit.page.route("**/thumbnail*", lambda route: route.fulfill(status=200, body=""))
        visit.page.goto(visit.address + "#c=looks&q=like%3A1%3Alooks%3Aline%2F1F431&match=0.5")
        visit.page.reload()
        visit.settle()
        results = visit.page.locator(".results").inner_text()
        assert "No match" in results
        assert ("12 %" in results) == (not rough)
        assert ("a rough guess" in results) == rough
        assert visit.page.locator(".gauge").count() == (not rough)
        assert visit.names() == ["a.jpg"]  # the nearest are shown all the same


def test_a_part_of_a_picture(visit, animals):
    page, sent = visit.page, dict(zip(animals.ids, animals.paths, strict=True))
    page.set_input_files("#files", str(sent["color/1F431"]))
    visit.settle()
    page.get_by_role("button", name="Search with a part of 1F431.png").click()
    box = page.locator(".crop-picture svg").bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    page.mouse.move(*at(0.75, 0.5))
    page.mouse.down()
    page.mouse.move(*at(0.25, 0.1), steps=3)
    page.mouse.up()
    page.get_by_label("Top").fill("0.2")
    page.get_by_role("button", name="Use this part").click()
    visit.settle()
    assert visit.searches()[-1]["parts"][0]["region"] == pytest.approx([0.25, 0.2, 0.5, 0.3], abs=0.01)
    assert visit.scores()[0] < 0.95
    page.get_by_role("button", name="Search with a part of 1F431.png").click()
    page.get_by_role("button", name="Use the whole picture").click()
    visit.settle()
    assert "region" not in visit.searches()[-1]["parts"][0]
    assert visit.scores()[0] > 0.95


def test_a_button_folds_near_duplicates_and_unfolds_them(searched):
    button = searched.page.get_by_role("button", name="Fold near-duplicates")
    for pressed, fold in (("true", 0.97), ("false", None)):
        button.click()
        searched.settle()
        assert searched.searches()[-1]["fold"] == fold
        assert button.get_attribute("aria-pressed") == pressed


def test_a_collection_of_one_look_names_it_nowhere(visit):
    """A plain index of somebody's folder: the one domain is the folder's name, on every hit the same."""
    page = visit.page

    def alone(route):
        answer = route.fetch()
        told = [{**one, "domains": {"Pictures": one["items"]}} for one in answer.json()]
        route.fulfill(response=answer, json=told)

    told = "A drawing finds photos"
    assert told in page.locator(".begin").inner_text()
    assert page.get_by_role("group", name="Domains").count() == 1
    page.route("**/api/v1/collections", alone)
    page.reload()
    page.locator(".begin").wait_for()
    assert told not in page.locator(".begin").inner_text()
    visit.open(SEARCHED)
    page.reload()
    page.locator(".hit").first.wait_for()
    assert page.locator(".hit-score").count() == page.locator(".hit").count() > 0
    assert page.locator(".hit-domain").count() == 0
    assert page.get_by_role("group", name="Domains").count() == 0
