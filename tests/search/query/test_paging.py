"""What is shown, and in which order."""

from crosslens.search.index.items import Hit
from crosslens.search.query.paging import sort_hits
from crosslens.search.query.query import FoundHit


def test_sorting_is_stable_and_puts_what_is_missing_last():
    def hit(name, size, label):
        return FoundHit(Hit(name, 0.5, f"/{name}", "photo", label, size=size))

    hits = [hit("b", 2, None), hit("a", None, "x"), hit("d", 1, "y"), hit("c", 2, "x")]
    names = {
        key: "".join(f.hit.id for f in sort_hits(hits, key)) for key in ("score", "id", "size", "-size", "label")
    }
    assert names == {"score": "badc", "id": "abcd", "size": "dbca", "-size": "bcda", "label": "acdb"}
