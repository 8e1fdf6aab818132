"""Drawing on the page: a real browser, a real server, real encoders over the built-in animals."""

import json

import pytest

from crosslens.datasets.emoji import concepts
from testing.browser import CAT, serving

ANIMALS = {concept.name for concept in concepts() if concept.subgroup.startswith("animal")}


class TestDrawing:
    def test_a_drawn_cat_finds_the_cat(self, visit):
        visit.draw(CAT)
        visit.settle()
        found = visit.names()
        assert len(found) == 40
        # Chance would put it among the first ten of 306 in one of 15 cases.
        assert "cat face" in found[:10], found[:10]
        assert sum(name in ANIMALS for name in found[:10]) >= 7, found[:10]
        assert visit.scores() == sorted(visit.scores(), reverse=True)

    def test_a_drawn_cat_finds_the_coloured_cat(self, visiting):
        visit = visiting(hash="#c=looks&in=color")
        visit.draw(CAT)
        visit.settle()
        assert set(visit.domains()) == {"color"}
        assert "cat face" in visit.names()[:5], visit.names()[:10]  # by chance in one of 30 cases
        assert "taken as line" in visit.page.locator(".status").inner_text()

    def test_each_stroke_searches_again_and_one_query_counts(self, visit):
        def asked():
            # The examples that the page opens with are found by a filter, at a time of their own.
            return [one for one in visit.searches() if one["where"] is None]

        # The page's time stands still meanwhile: strokes follow each other at once on a busy machine too.
        clock = visit.page.clock
        clock.install(time=0)
        clock.pause_at(1)
        found = []
        for number, strokes in enumerate((CAT[:1], CAT[1:4])):
            visit.draw(strokes)
            assert len(asked()) == number
            clock.run_for(1000)
            for _ in range(600):
                if len(asked()) > number:
                    break
                visit.page.wait_for_timeout(100)
            visit.page.wait_for_selector(".results[aria-busy=true]", state="detached")
            assert len(asked()) == number + 1  # strokes in quick succession are one search
            found.append(visit.names())
        assert found[0] != found[1] != []
        assert visit.parts() == ["Your sketch"]
        newest = asked()[-1]
        assert newest["parts"] == [{"image": 0, "weight": 1}]
        assert newest["domain"] == "auto"

    def test_a_late_answer_of_an_older_query_is_dropped(self, visit):
        held, is_open = [], False

        def hold_the_first(route):
            if is_open:
                route.continue_()
            else:
                held.append(route)

        visit.page.route("**/search", hold_the_first)
        # Strokes that a busy machine draws slowly may be several searches; all of them are older than the next.
        visit.draw(CAT[:4])
        visit.page.wait_for_selector(".results[aria-busy=true]")
        visit.page.wait_for_timeout(300)
        assert held
        is_open = True
        visit.draw(CAT[4:])
        visit.settle()
        newest = visit.names()
        old = {"hits": [], "match_probability": None, "no_match": False, "domain": None, "items": 0}
        old |= {"seconds": {}, "notes": []}
        # The page has aborted these requests; whatever comes back for them must change nothing.
        for route in held:
            route.fulfill(status=200, content_type="application/json", body=json.dumps(old))
        visit.page.wait_for_timeout(300)
        assert visit.names() == newest != []

    def test_undo_redo_clear_and_erase(self, visit):
        page = visit.page
        pixels = "document.querySelector('.paper canvas').toDataURL()"
        blank = page.evaluate(pixels)
        visit.draw(CAT[:2])
        drawn = page.evaluate(pixels)
        page.get_by_role("button", name="Undo").click()
        page.keyboard.press("Control+z")
        assert page.evaluate(pixels) == blank
        assert visit.parts() == []
        page.keyboard.press("Control+Shift+z")
        page.get_by_role("button", name="Redo").click()
        assert page.evaluate(pixels) == drawn
        page.get_by_role("button", name="Clear the sketch").click()
        assert page.evaluate(pixels) == blank
        page.get_by_role("button", name="Undo").click()
        assert page.evaluate(pixels) == drawn
        page.get_by_role("button", name="Eraser").click()
        page.locator(".width input").fill("24")
        visit.draw([CAT[1], CAT[1]])
        ink = "(() => { const c = document.querySelector('.paper canvas'); const d = c.getContext('2d')"
        ink += ".getImageData(0.1 * c.width, 0.1 * c.height, 0.3 * c.width, 0.2 * c.height).data;"
        ink += " let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] < 128; return n; })()"
        assert page.evaluate(ink) == 0  # the ear is gone

    @pytest.mark.slow
    def test_drawing_can_wait_for_a_button(self, visit):
        visit.page.get_by_label("Search while drawing").uncheck()
        before = len(visit.searches())
        visit.draw(CAT[:2])
        visit.page.wait_for_timeout(500)
        assert len(visit.searches()) == before
        visit.page.get_by_role("button", name="Search", exact=True).click()
        visit.page.wait_for_selector(".hit")

    @pytest.mark.slow
    def test_where_and_how_large_it_is_drawn_does_not_matter(self, visit):
        small = [[(0.05 + 0.3 * x, 0.6 + 0.3 * y) for x, y in line] for line in CAT]
        visit.page.locator(".width input").fill("6")
        visit.draw(small)
        visit.settle()
        assert "cat face" in visit.names()[:12], visit.names()[:12]


@pytest.mark.slow
def test_a_drawn_cat_finds_cat_faces_among_all_faces_and_animals(visiting, tmp_path):
    """Nine cat faces and two cats in two looks among 630 pictures."""
    from crosslens.api import fit
    from crosslens.datasets.emoji import emoji_catalog
    from crosslens.encoder import load_encoder
    from crosslens.search.index.index import Index

    groups = ("Animals & Nature", "Smileys & Emotion")
    catalog = emoji_catalog("concept", ("line", "color"), groups=groups)
    fit("centred", catalog, out=tmp_path / "run")
    Index.build(catalog, load_encoder(tmp_path / "run"), tmp_path / "faces")
    with serving(tmp_path / "faces") as address:
        visit = visiting(address=address)
        visit.draw(CAT)
        visit.settle()
        found = visit.names()
        assert any("cat face" in name for name in found[:3]), found[:10]
        assert sum("cat face" in name for name in found[:10]) >= 2, found[:10]
        visit.page.close()  # before its server stops
