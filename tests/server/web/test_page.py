"""Searching with the page: a real browser, a real server, real encoders over the built-in animals."""

from pathlib import Path

import pytest

from testing.browser import CAT

COLOR_CAT, LINE_CAT = "color/1F431", "line/1F431"


@pytest.fixture(scope="module")
def pictures(animals):
    """Path of a picture by its id."""
    return dict(zip(animals.ids, map(Path, animals.paths), strict=True))


def give(visit, *paths, hash=""):
    visit.page.set_input_files("#files", [str(path) for path in paths])
    visit.page.locator(".part, .notice").first.wait_for()  # once the browser has read them
    visit.settle()


class TestPictures:
    def test_a_chosen_file_is_found_again(self, visit, pictures):
        give(visit, pictures[COLOR_CAT])
        assert visit.names()[0] == "cat face"
        assert visit.scores()[0] > 0.95
        assert visit.domains()[0] == "color"
        assert "taken as color" in visit.page.locator(".status").inner_text()
        visit.page.get_by_text("A match is likely").wait_for()
        assert visit.parts() == ["1F431.png"]

    def test_what_one_should_know_of_an_answer_is_told(self, visit, pictures):
        told = "folding looked at the best 5000 items alone; there may be more hits"

        answer = {"hits": [], "match_probability": None, "match_is_rough": False, "domain": None, "items": 0}
        answer |= {"seconds": {}, "notes": [told]}
        visit.page.route("**/search", lambda route: route.fulfill(status=200, json=answer))
        visit.page.set_input_files("#files", str(pictures[COLOR_CAT]))
        visit.page.get_by_text(told).wait_for()

    @pytest.mark.parametrize("way", ["drop", pytest.param("paste", marks=pytest.mark.slow)])
    def test_dropped_and_pasted(self, visit, pictures, way):
        event = {
            "drop": "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})",
            "paste": "new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})",
        }[way]
        visit.page.evaluate(
            f"""(bytes) => {{
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "cat.png", {{type: "image/png"}}));
                document.body.dispatchEvent({event});
            }}""",
            list(pictures[LINE_CAT].read_bytes()),
        )
        # The picture is read and made smaller before the page asks.
        visit.page.locator(".hit-name").first.wait_for()
        assert (visit.names()[0], visit.domains()[0]) == ("cat face", "line")

    @pytest.mark.slow
    def test_what_is_no_picture_is_said(self, visit, tmp_path):
        (tmp_path / "notes.txt").write_text("words")
        give(visit, tmp_path / "notes.txt")
        assert "notes.txt is not a picture" in visit.page.locator(".notice").inner_text()
        assert visit.parts() == []

    def test_a_broken_picture_is_the_servers_415_in_plain_words(self, visit, tmp_path):
        visit.expected = "415"
        (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        give(visit, tmp_path / "broken.png")
        assert "not a picture the server can read" in visit.page.get_by_role("alert").inner_text()
        visit.page.get_by_role("button", name="Remove broken.png").click()
        visit.page.wait_for_selector(".begin")


class TestWords:
    @pytest.mark.parametrize(
        ("words", "wanted"),
        [
            ("a cat", {"cat", "black cat", "cat face", "leopard", "lion face", "tiger", "tiger face"}),
            ("a fish", {"fish", "tropical fish", "blowfish", "shark"}),
            ("a bird", {"bird", "penguin", "dove", "duck", "goose", "swan", "parrot", "owl"}),
        ],
    )
    def test_words_find_pictures(self, visiting, words, wanted):
        visit = visiting(hash="#c=words")
        visit.page.locator("#words").fill(words)
        visit.page.keyboard.press("Enter")
        visit.settle()
        assert visit.searches()[-1]["parts"] == [{"text": words, "weight": 1}]
        assert wanted & set(visit.names()[:3]), visit.names()[:10]

    @pytest.mark.slow
    def test_an_encoder_without_words_says_so(self, visiting):
        visit = visiting(hash="#c=looks&q=text%3A1%3Acat")

        def wordless(route):
            about = route.fetch().json()
            route.fulfill(status=200, json=[collection | {"text": False} for collection in about])

        visit.page.route("**/api/v1/collections", wordless)
        visit.page.reload()
        visit.settle()
        assert "does not understand words" in visit.page.get_by_role("alert").inner_text()
        assert visit.page.locator("#words").is_disabled()


class TestMixing:
    def test_more_less_and_weights(self, visit, pictures):
        give(visit, pictures[COLOR_CAT])
        page = visit.page
        chosen = page.locator(".hit", has_text="tiger face").first
        chosen.hover()
        chosen.get_by_role("button", name="Less like tiger face").click()
        visit.settle()
        away = visit.names()
        pushed = visit.searches()[-1]["parts"][1]
        assert pushed["weight"] == -0.5
        assert away[0] == "cat face"
        slider = page.get_by_label(f"Weight of {pushed['like']}")
        slider.focus()
        slider.press("End")
        visit.settle()
        near = visit.names()
        assert visit.searches()[-1]["parts"][1] == {"like": pushed["like"], "weight": 1}
        page.get_by_role("button", name="Remove 1F431.png").click()
        visit.settle()
        assert visit.searches()[-1]["parts"] == [{"like": pushed["like"], "weight": 1}]
        neighbours = visit.names()[:10]
        count = {
            "near": sum(name in neighbours for name in near[:10]),
            "away": sum(name in neighbours for name in away[:10]),
        }
        assert count["near"] > count["away"], count

    @pytest.mark.slow
    def test_a_query_that_only_pushes_is_not_sent(self, visiting):
        visit = visiting(hash="#c=looks&q=like%3A-1%3Alooks%3Aline%2F1F431")
        visit.settle()
        assert "positive weight" in visit.page.get_by_role("alert").inner_text()

    @pytest.mark.slow
    def test_an_example_begins_a_search(self, visit):
        example = visit.page.locator(".example-pictures button").first
        name = example.get_attribute("aria-label")
        example.click()
        visit.settle()
        assert len(visit.parts()) == 1
        assert len(visit.names()) > 10
        assert name.startswith("Search with ")


class TestNarrowing:
    def test_domain_folder_and_number_of_hits(self, visit, pictures):
        give(visit, pictures[LINE_CAT])
        page = visit.page
        page.get_by_role("checkbox", name="color").check()
        visit.settle()
        assert set(visit.domains()) == {"color"}
        page.get_by_role("checkbox", name="color").uncheck()
        page.get_by_label("Folder", exact=True).fill("line")
        visit.settle()
        assert set(visit.domains()) == {"line"}
        assert visit.searches()[-1]["where"] == {"op": "prefix", "field": "id", "value": "line/"}
        page.get_by_role("button", name="Remove folder line").click()
        page.get_by_text("Options").click()
        page.get_by_role("combobox", name="Hits").select_option("10")
        page.get_by_role("combobox", name="Order").select_option("label")
        visit.settle()
        assert len(visit.names()) == 10
        assert visit.names() == sorted(visit.names())

    def test_the_cut_off_hides_at_once_without_asking(self, visit, pictures):
        give(visit, pictures[LINE_CAT])
        asked, scores = len(visit.searches()), visit.scores()
        slider = visit.page.get_by_role("slider", name="Cut-off")
        slider.fill(str(round(scores[4], 3)))
        shown = visit.scores()
        assert 4 <= len(shown) <= 6
        assert shown == scores[: len(shown)]
        assert f"{len(shown)} of 40 hits" in visit.page.locator(".status").inner_text()
        visit.page.wait_for_timeout(800)
        assert f"{len(shown)} of 40 hits" in visit.page.locator("p.sr[aria-live]").inner_text()
        assert len(visit.searches()) == asked
        slider.press("Home")
        assert len(visit.scores()) == 40

    @pytest.mark.slow
    def test_no_match(self, visit):
        visit.draw(CAT)
        visit.settle()
        before, chance = visit.searches()[-1], visit.page.locator(".chance strong").inner_text()
        assert 0 < int(chance.removesuffix(" %")) < 90
        visit.page.get_by_text("Options").click()
        visit.page.get_by_role("slider", name="Say no match below").fill("0.95")
        visit.settle()
        assert visit.searches()[-1] == before  # told from the probability, so that the nearest are there
        state = visit.page.locator(".state").inner_text()
        assert "No match" in state
        assert chance in state
        assert "no match" in visit.page.locator("p.sr[aria-live]").inner_text()
        assert "cat face" in visit.names()[:10]


class TestLookingCloser:
    def test_a_hit_in_detail(self, visit, pictures):
        give(visit, pictures[LINE_CAT])
        page = visit.page
        page.locator(".hit-open").nth(1).click()
        facts = page.locator("dialog .facts").inner_text()
        assert page.locator("dialog h2").inner_text() == visit.names()[1]
        for word in ("Score", "Domain", "Id", "line/"):
            assert word in facts
        page.wait_for_load_state("networkidle")
        assert page.locator("dialog img").evaluate("image => image.naturalWidth") == 256
        page.keyboard.press("ArrowLeft")
        assert page.locator("dialog h2").inner_text() == "cat face"
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        assert page.evaluate("document.activeElement.className") == "hit-open"

    @pytest.mark.slow
    def test_near_duplicates_are_folded_and_can_be_opened(self, visit, pictures):
        give(visit, pictures[LINE_CAT])
        visit.page.get_by_text("Options").click()
        visit.page.get_by_role("slider", name="Fold near-duplicates").fill("0.8")
        visit.settle()
        assert visit.searches()[-1]["fold"] == 0.8
        folded = visit.page.locator(".hit", has_text="near-duplicate")
        if folded.count() == 0:
            pytest.skip("no two of these pictures are this much alike")
        folded.first.locator(".hit-open").click()
        other = visit.page.locator(".duplicates button").first
        name = other.get_attribute("title")
        other.click()
        visit.page.locator("dialog .facts", has_text=name).wait_for()

    def test_two_encoders_side_by_side(self, visit, pictures):
        give(visit, pictures[LINE_CAT])
        visit.page.get_by_role("button", name="Compare").click()
        visit.settle()
        visit.page.locator(".grid").nth(1).wait_for()
        ids = [
            visit.page.locator(".results")
            .nth(side)
            .locator(".hit-picture img")
            .evaluate_all("all => all.map(one => new URL(one.src).searchParams.get('id'))")
            for side in (0, 1)
        ]
        marked = [visit.page.locator(".results").nth(side).locator(".hit-both") for side in (0, 1)]
        both = set(ids[0]) & set(ids[1])
        assert 0 < len(both) < 40
        assert [found.count() for found in marked] == [len(both), len(both)]
        first = marked[0].first
        place = ids[0].index(next(id for id in ids[0] if id in both))
        assert f"#{ids[1].index(ids[0][place]) + 1} in words" in " ".join(first.inner_text().split())
        assert visit.searches()[-1]["parts"] == visit.searches()[-2]["parts"]


class TestSharing:
    def test_a_link_repeats_the_search(self, visiting):
        one = visiting(hash="#c=words&q=text%3A1%3Acat&in=line&top=10")
        one.settle()
        one.page.locator(".hit-open").first.focus()
        one.page.keyboard.press("m")
        one.settle()
        two = visiting(hash=one.page.evaluate("location.hash"))
        two.settle()
        assert two.parts() == one.parts()
        assert len(two.parts()) == 2
        assert two.names() == one.names()
        assert len(two.names()) == 10
        assert set(two.domains()) == {"line"}

    @pytest.mark.slow
    def test_back_undoes_the_last_part(self, visiting):
        visit = visiting(hash="#c=words&q=text%3A1%3Acat")
        visit.settle()
        before = visit.names()
        visit.page.locator("#words").fill("a fish")
        visit.page.keyboard.press("Enter")
        visit.settle()
        assert visit.names() != before
        visit.page.go_back()
        visit.settle()
        assert visit.parts() == ["“cat”"]
        assert visit.names() == before


def test_columns_limit_the_search(visit, pictures):
    """What the page asks when a value and a range are chosen; what the server does with it is tested beside it."""
    facets = {
        "camera": {"type": "text", "items": 9, "values": [["X100V", 6], ["M6", 3]], "min": None, "max": None},
        "price": {"type": "number", "items": 9, "values": [], "min": 1, "max": 9.5},
        "same": {"type": "number", "items": 9, "values": [], "min": 1, "max": 1},
    }
    visit.page.route("**/facets", lambda route: route.fulfill(status=200, json={"columns": facets}))

    def described(route):
        about = route.fetch().json()
        for collection in about:
            collection["columns"] = {name: facet["type"] for name, facet in facets.items()}
        route.fulfill(status=200, json=about)

    visit.page.route("**/api/v1/collections", described)
    asked = []

    def empty(route):
        asked.append(route.request.post_data_buffer.decode("utf-8", "replace"))
        answer = {"hits": [], "match_probability": None, "match_is_rough": False, "domain": None, "items": 0}
        route.fulfill(status=200, json=answer | {"seconds": {}, "notes": []})

    visit.page.route("**/search", empty)
    visit.page.reload()
    visit.page.get_by_text("Columns", exact=True).click()
    visit.page.get_by_role("combobox", name="camera", exact=True).select_option("X100V")
    visit.page.get_by_label("price to").fill("5")
    visit.page.get_by_label("price to").press("Tab")
    assert visit.page.get_by_label("same from").count() == 0
    visit.page.set_input_files("#files", str(pictures[COLOR_CAT]))
    visit.page.get_by_text("No picture passes the filters").wait_for()
    wanted = [
        '{"op":"eq","field":"camera","value":"X100V"}', '{"op":"range","field":"price","min":null,"max":5}'
    ]  # fmt: skip
    assert all(condition in asked[-1] for condition in wanted)
    assert "if=" in visit.page.url


def test_the_same_thing_or_the_same_kind(visit, pictures):
    visit.page.set_input_files("#files", str(pictures[COLOR_CAT]))
    visit.settle()
    kind = visit.names()
    assert visit.page.get_by_role("radio", name="The same kind").is_checked()
    visit.page.get_by_role("radio", name="The same thing").check()
    visit.settle()
    assert visit.names() != kind
    assert "goal=thing" in visit.page.url
    visit.page.reload()
    assert visit.page.get_by_role("radio", name="The same thing").is_checked()
    # A re-ranker of kinds takes the goal with it.
    visit.page.locator(".more-options summary").click()
    visit.page.get_by_role("combobox", name="Re-rank").select_option("aqe")
    assert visit.page.get_by_role("radio", name="The same kind").is_checked()
