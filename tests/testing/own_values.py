"""Own columns of every type, and what a filter on them means by the slow formula."""

import json

COLUMNS = {
    "price": "number",
    "camera": "text",
    "taken": "date",
    "sold": "boolean",
    "keywords": "list",
    'it\'s "odd" `/.%': "text",
}
"""Names and types."""
ODD = list(COLUMNS)[-1]
CAMERAS = ["X100V", "it's", 'say "hi"', "emoji 🐈", "100%", "back\\slash", "new\nline", "Größe"]


def values_of(row):
    """The columns of item number ``row``; a third of each is missing."""
    every = {
        "price": [19.99, 20, -3, 0, 2.5e6][row % 5],
        "camera": CAMERAS[row % len(CAMERAS)],
        "taken": ["2024-01-31", "2024-01-31T12:00:00", "2023-12-31T23:59:59", "2024-02-01"][row % 4],
        "sold": row % 2 == 0,
        "keywords": [["beach"], ["beach", "it's late"], ["snow"]][row % 3],
        ODD: ["a", "b"][row % 2],
    }
    return {name: value for place, (name, value) in enumerate(every.items()) if (row + place) % 3}


def own(count):
    """The column ``own`` of that many items."""
    return [json.dumps(values_of(row)) if row % 10 else None for row in range(count)]


def rows_where(count, holds):
    """Of which items ``holds`` is true, given their columns."""
    return [row for row in range(count) if holds(values_of(row) if row % 10 else {})]


CONDITIONS = [
    ("price < 20", lambda v: v.get("price", 99) < 20),
    ("price = 20", lambda v: v.get("price") == 20),
    ("price != 20", lambda v: v.get("price") != 20),
    ("price in (20, 19.99)", lambda v: v.get("price") in (20, 19.99)),
    ("price between -3 and 19.99", lambda v: -3 <= v.get("price", 99) <= 19.99),
    ("camera = 'X100V'", lambda v: v.get("camera") == "X100V"),
    ("camera in ('it''s', 'say \"hi\"', '100%')", lambda v: v.get("camera") in ("it's", 'say "hi"', "100%")),
    ("camera starts with 'Gro\u0308'", lambda v: v.get("camera", "").startswith("Grö")),
    ("camera starts with 'back\\'", lambda v: v.get("camera", "").startswith("back\\")),
    ("camera >= 'a' and camera < 'f'", lambda v: "a" <= v.get("camera", "") < "f"),
    ("Camera is null", lambda v: "camera" not in v),
    ("taken = '2024-01-31'", lambda v: v.get("taken", "").startswith("2024-01-31")),
    ("taken > '2024-01-31'", lambda v: v.get("taken", "") >= "2024-02-01"),
    ("taken <= '2024-01-31'", lambda v: "" < v.get("taken", "") < "2024-02-01"),
    ("taken < '2024-01-31'", lambda v: "" < v.get("taken", "") < "2024-01-31"),
    ("taken = '2024-01-31T12:00'", lambda v: v.get("taken") == "2024-01-31T12:00:00"),
    ("taken in ('2024-01-31', '2024-02-01')", lambda v: v.get("taken", "")[:10] in ("2024-01-31", "2024-02-01")),
    ("taken is not null", lambda v: "taken" in v),
    ("sold = true", lambda v: v.get("sold") is True),
    ("sold in (true, false)", lambda v: "sold" in v),
    ("not sold = true", lambda v: v.get("sold") is not True),
    ("keywords = 'beach'", lambda v: "beach" in v.get("keywords", [])),
    ("keywords in ('it''s late', 'snow')", lambda v: {"it's late", "snow"} & set(v.get("keywords", []))),
    ("keywords is null", lambda v: "keywords" not in v),
    (
        "taken >= '2024-01-01' and camera = 'X100V' or price < 0",
        lambda v: (v.get("taken", "") >= "2024" and v.get("camera") == "X100V") or v.get("price", 9) < 0,
    ),
]
"""Filters as text, and the slow formula of each."""
