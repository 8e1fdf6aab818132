"""The page for everybody: by keyboard, on a phone, in the dark, with a screen reader, and when things go wrong."""

import json

import pytest

from testing.browser import AXE, CAT

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SEARCHED = "#c=looks&vs=words&q=like%3A1%3Alooks%3Aline%2F1F431"

CONTRAST = """() => {
    const parse = (colour) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const context = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
        .getContext('2d', {willReadFrequently: true});
    const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = parse(getComputedStyle(one).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const poor = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility()) continue;
        if (element.closest('.sr, :disabled, option, datalist, noscript')) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push(`${element.className} "${element.textContent.trim()}" ${ratio.toFixed(2)}`);
    }
    return poor;
}"""

NAMELESS = """() => [...document.querySelectorAll('button, input, select, a, summary, meter, canvas, dialog')]
    .filter((one) => one.checkVisibility() && !(
        one.getAttribute('aria-label') || (one.tagName !== 'SELECT' && one.textContent.trim())
        || one.getAttribute('aria-labelledby') || [...(one.labels ?? [])].some((label) => label.textContent.trim())
    )).map((one) => one.outerHTML)"""

SMALL = """() => [...document.querySelectorAll('button, input, select, summary, a')]
    .filter((one) => one.checkVisibility() && !one.closest('.sr, .skip'))
    .map((one) => [one, one.closest('label') ?? one])
    .map(([one, target]) => [one, target.getBoundingClientRect()])
    .filter(([, box]) => box.height < 43.5 || box.width < 43.5)
    .map(([one, box]) => `${one.outerHTML.slice(0, 120)} ${box.width} x ${box.height}`)"""

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def states(visit):
    """The page as it opens, then with hits, then with options, then comparing, then with a dialog."""
    page = visit.page
    page.locator(".example-pictures img").first.wait_for()
    yield "begin"
    page.locator(".example-pictures button").first.click()
    visit.settle()
    page.locator(".more-options summary").click()
    yield "hits"
    page.get_by_role("button", name="Compare").click()
    page.locator(".grid").nth(1).wait_for()
    yield "compared"
    page.locator(".hit-open").first.click()
    page.locator("dialog").wait_for()
    yield "detail"
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    page.get_by_role("button", name="Help and shortcuts").click()
    page.locator("dialog").wait_for()
    yield "help"


class TestScreenReader:
    @pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
    def test_contrast_and_names(self, visiting, scheme):
        visit = visiting(color_scheme=scheme)
        for state in states(visit):
            assert visit.page.evaluate(CONTRAST) == [], state
            assert visit.page.evaluate(NAMELESS) == [], state

    @pytest.mark.slow
    @pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in web/")
    @pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"])
    def test_axe_finds_nothing(self, visiting, options):
        visit = visiting(**options)
        for state in states(visit):
            visit.page.evaluate(AXE.read_text())
            found = visit.page.evaluate("axe.run(document)")
            assert len(found["passes"]) > 20, state
            poor = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
            assert poor == [], state

    def test_landmarks_and_the_live_region(self, visiting):
        visit = visiting(hash=SEARCHED)
        visit.settle()
        page = visit.page
        assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
        assert page.get_by_role("search").count() == 1
        page.locator(".grid").nth(1).wait_for()
        assert page.locator("p[role=status].sr[aria-live]").inner_text() == "looks: 40 hits; words: 40 hits"
        assert page.get_by_role("heading", level=1).inner_text() == "crosslens"


class TestKeyboard:
    def test_a_whole_search_without_a_pointer(self, visiting):
        visit = visiting(hash="#c=words")
        page, press = visit.page, visit.page.keyboard.press
        focused = "document.activeElement.className + ' ' + document.activeElement.innerText"
        page.locator(".page").wait_for()
        press("Tab")
        assert "Skip to the results" in page.evaluate(focused)
        press("/")
        page.keyboard.type("cat")
        press("Enter")
        visit.settle()
        # From the words to the hits in order: what lies between has names, and focus can be seen on each.
        for _ in range(40):
            press("Tab")
            outline = page.evaluate("(e => getComputedStyle(e).outlineStyle)(document.activeElement)")
            hidden = page.evaluate("document.activeElement.matches('.chip input')")
            assert outline != "none" or hidden, page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("document.activeElement.matches('.hit-open')"):
                break
        names = visit.names()
        assert names[0] in page.evaluate(focused)
        press("ArrowRight")
        assert names[1] in page.evaluate(focused)
        columns = page.evaluate(
            "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
        )
        press("ArrowDown")
        assert names[1 + columns] in page.evaluate(focused)
        press("Home")
        assert names[0] in page.evaluate(focused)
        press("End")
        assert names[-1] in page.evaluate(focused)
        press("Home")
        press("Enter")
        assert page.locator("dialog h2").inner_text() == names[0]
        press("Escape")
        page.locator("dialog").wait_for(state="detached")
        assert names[0] in page.evaluate(focused)
        press("m")
        visit.settle()
        assert len(visit.parts()) == 2
        press("?")
        assert page.locator("dialog h2").inner_text() == "Help and shortcuts"

    @pytest.mark.slow
    def test_single_keys_can_be_turned_off(self, visit):
        page = visit.page
        page.keyboard.press("?")
        page.get_by_label("Shortcuts of a single key").uncheck()
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="detached")
        page.keyboard.press("?")
        assert page.locator("dialog").count() == 0

    @pytest.mark.slow
    def test_keys_of_the_drawing_tools(self, visit):
        page = visit.page
        page.get_by_role("button", name="Pen", exact=True).focus()
        page.keyboard.press("e")
        assert page.get_by_role("button", name="Eraser").get_attribute("aria-pressed") == "true"
        page.keyboard.press("]")
        assert page.locator(".width input").input_value() == "20"


class TestPhone:
    def test_it_fits_and_fingers_can_hit_everything(self, visiting):
        visit = visiting(**PHONE)
        for state in states(visit):
            assert visit.page.evaluate(OVERFLOW) <= 0, state
            assert visit.page.evaluate(SMALL) == [], state

    @pytest.mark.slow
    def test_drawing_with_a_finger(self, visiting):
        visit = visiting(**PHONE)
        box = visit.page.locator(".paper canvas").bounding_box()
        session = visit.page.context.new_cdp_session(visit.page)

        def touch(kind, *places):
            points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        for line in CAT:
            touch("touchStart", line[0])
            for place in line[1:]:
                touch("touchMove", place)
            touch("touchEnd")
        visit.settle()
        label = visit.page.locator(".paper canvas").get_attribute("aria-label")
        assert f"{len(CAT)} strokes" in label
        assert visit.page.evaluate("scrollY") == 0  # the page did not scroll under the finger
        assert "cat face" in visit.names()[:15]


class TestColours:
    GROUND = "getComputedStyle(document.body).backgroundColor"

    def test_the_system_decides_until_the_reader_does(self, visiting):
        dark, light = (visiting(color_scheme=scheme) for scheme in ("dark", "light"))
        night, day = (visit.page.evaluate(self.GROUND) for visit in (dark, light))
        assert night != day
        button = light.page.get_by_role("button", name="Colours")
        button.click()
        button.click()
        assert light.page.evaluate(self.GROUND) == night
        light.open()
        assert light.page.evaluate(self.GROUND) == night

    @pytest.mark.slow
    def test_nothing_moves_for_those_who_asked_for_stillness(self, visiting):
        visit = visiting(reduced_motion="reduce")
        visit.page.route("**/search", lambda route: None)
        visit.draw(CAT[:1])
        visit.page.locator(".progress").wait_for()
        moving = "getComputedStyle(document.querySelector('.progress'), '::after').animationName"
        assert visit.page.evaluate(moving) == "none"


class TestWhenThingsGoWrong:
    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (429, "Too many searches"),
            *(
                pytest.param(status, words, marks=pytest.mark.slow)
                for status, words in (
                    (403, "The server does not allow this"),
                    (413, "too large"),
                    (500, "The server failed"),
                    (503, "The server is busy"),
                )
            ),
        ],
    )
    def test_what_the_server_says_in_plain_words(self, visit, status, words):
        visit.expected = str(status)
        problem = {"type": "about:blank", "title": "No", "status": status, "detail": "the server's own words"}
        headers = {"Retry-After": "7"} if status == 429 else {}
        visit.page.route(
            "**/search",
            lambda route: route.fulfill(
                status=status, content_type="application/problem+json", body=json.dumps(problem), headers=headers
            ),
        )
        visit.draw(CAT[:1])
        visit.settle()
        said = visit.page.get_by_role("alert").inner_text()
        assert words in said
        assert "the server's own words" in said
        assert ("in 7 s" in said) == (status == 429)
        visit.page.unroute("**/search")
        visit.page.get_by_role("button", name="Try again").click()
        visit.page.locator(".hit").first.wait_for()

    @pytest.mark.slow
    def test_it_comes_back_by_itself_when_the_server_does(self, visit):
        visit.expected = "ERR_CONNECTION_REFUSED|Failed to load"
        visit.page.route("**/api/**", lambda route: route.abort("connectionrefused"))
        visit.draw(CAT[:1])
        visit.settle()
        assert "does not answer" in visit.page.get_by_role("alert").inner_text()
        assert visit.parts() == ["Your sketch"]
        visit.page.unroute("**/api/**")
        visit.page.locator(".hit").first.wait_for()  # within the 5 s after which it asks again

    @pytest.mark.slow
    def test_a_missing_picture_has_a_place_holder(self, visit):
        visit.expected = "404"
        visit.page.route("**/thumbnail?*1F431*", lambda route: route.fulfill(status=404))
        visit.page.goto(visit.address + "#c=looks&q=like%3A1%3Alooks%3Acolor%2F1F42F")
        visit.page.reload()
        visit.settle()
        missing = visit.page.locator(".hit-picture .picture-gone")
        missing.first.wait_for()
        boxes = [one.bounding_box() for one in (missing.first, visit.page.locator(".hit-picture img").first)]
        assert abs(boxes[0]["height"] - boxes[1]["height"]) < 2

    @pytest.mark.slow
    def test_a_server_with_keys(self, visiting, indexes, tmp_path):
        import subprocess
        import sys

        from testing.browser import serving

        words = ["serve", "keys", "add", "anna", "--file", str(tmp_path / "keys.json")]
        made = subprocess.run(
            [sys.executable, "-m", "crosslens", *words], capture_output=True, text=True, check=True
        )
        key = made.stdout.strip()
        with serving(indexes[0], options=["--api-key-file", str(tmp_path / "keys.json")]) as address:
            visit = visiting(address=address)
            visit.expected = "401"
            page = visit.page
            page.locator("#key").fill("wrong")
            page.keyboard.press("Enter")
            page.get_by_text("does not know the key").wait_for()
            page.locator("#key").fill(key)
            page.keyboard.press("Enter")
            page.locator(".page").wait_for()
            visit.draw(CAT)
            visit.settle()
            assert "cat face" in visit.names()[:10]
            # Pictures need the key too; an <img> cannot send it, so they come as blobs.
            page.locator(".hit-picture img[src^='blob:']").nth(5).wait_for()
            page.reload()
            page.locator(".page").wait_for()
            assert key not in page.evaluate("JSON.stringify(localStorage)")
            page.close()  # before its server stops
