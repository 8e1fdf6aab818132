"""What is shown, and in which order."""

from crosslens.search.index.items import Hit
from crosslens.search.query.paging import sort_hits, take_page
from crosslens.search.query.query import FoldedHit


def test_sorting_is_stable_and_puts_what_is_missing_last():
    def hit(name, size, label):
        return FoldedHit(Hit(name, 0.5, f"/{name}", "photo", label, size=size))

    hits = [hit("b", 2, None), hit("a", None, "x"), hit("d", 1, "y"), hit("c", 2, "x")]
    names = {
        key: "".join(f.hit.id for f in sort_hits(hits, key)) for key in ("score", "id", "size", "-size", "label")
    }
    assert names == {"score": "badc", "id": "abcd", "size": "dbca", "-size": "bcda", "label": "acdb"}


def test_a_page_asks_for_no_more_than_it_takes():
    asked = []

    def growing():
        hits = []
        for number in range(9):
            asked.append(number)
            hits += [number, -number]
            yield hits

    assert take_page(growing(), 3) == [0, 0, 1]
    assert asked == [0, 1]
    assert take_page(growing(), 100) == [sign * number for number in range(9) for sign in (1, -1)]
    assert take_page(iter([]), 3) == []
