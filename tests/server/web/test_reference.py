"""Trying the API on its reference page, in a real browser under the server's own policy."""

import json


def test_a_search_is_tried(browser, address):
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{address}docs")
        section = page.locator("section#search")
        section.get_by_text("Try it").click()
        section.locator("input[name=name]").fill("looks")
        section.locator("textarea[name=query]").fill('{"parts":[{"like":"line/1F431"}],"top":3}')
        section.get_by_role("button", name="Send").click()
        page.wait_for_function("document.querySelector('section#search output pre') !== null")
        status, _, body = section.locator("output pre").inner_text().partition("\n")
        assert status.startswith("200")
        assert len(json.loads(body)["hits"]) == 3
