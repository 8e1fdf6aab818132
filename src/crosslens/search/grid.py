"""A picture of a query and what was found for it: a PNG, or an HTML page with everything inside it."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageDraw, ImageFont
from rich.cells import cell_len, chop_cells

from crosslens.images.decode import ImageSource, decode
from crosslens.support.addresses import place_of, whole_name
from crosslens.support.errors import ConfigError, ImageError
from crosslens.support.files import atomic_path
from crosslens.support.terminal import visible

SIDE = 160
"""Side of a tile in pixels."""
COLUMNS = 6
_GAP, _CAPTION = 12, 34
_INK, _DIM, _EMPTY = (25, 25, 25), (110, 110, 110), (238, 238, 238)


@dataclass(frozen=True)
class Tile:
    """One place of the grid.

    Attributes:
        picture: what is shown: an image as ``decode`` takes it, or None.
        text: shown where there is no picture.
        caption: two lines under it.
        link: where an HTML page leads from here; empty for nowhere.
    """

    picture: ImageSource | None
    text: str = ""
    caption: tuple[str, str] = ("", "")
    link: str = ""


class Shown(Protocol):
    """A hit (``id``, ``score``, ``path``, ``domain``, ``label``) with the ids of what was folded under it."""

    @property
    def hit(self) -> Any:
        """What was found."""
        ...

    @property
    def duplicates(self) -> Sequence[str]:
        """Ids of its near-duplicates."""
        ...


def make_tile(shown: Shown, *, linked: bool = False) -> Tile:
    """A hit with its score, domain, class and how many were folded under it; ``linked`` leads to its file.

    A link tells where the file lies, so it is for pages that stay on this machine.
    """
    hit, more = shown.hit, len(shown.duplicates)
    first = f"{hit.score:.3f}  {hit.domain}" + (f"  +{more} alike" if more else "")
    return picture_tile(hit.path, (first, hit.label or Path(hit.id).name), linked=linked)


def picture_tile(path: str, caption: tuple[str, str], *, linked: bool = False) -> Tile:
    """A picture by its path or address; ``linked`` leads to its file where it is one of this machine."""
    place = place_of(path)
    link = Path(whole_name(place)).as_uri() if linked and isinstance(place, Path) else ""
    return Tile(place, "image is gone", caption, link)


def write_grid(file: Path, query: Sequence[Tile], hits: Sequence[Tile], title: str = "") -> None:
    """Write the picture, replacing the file in one step.

    Args:
        file: ``.png``, ``.html`` or ``.htm``.
        query: what was asked.
        hits: what was found, best first.
        title: over it.

    Raises:
        ConfigError: for another ending.
        CrosslensError: for a file that cannot be written.
    """
    kind = check_grid_file(file)
    content = _html(query, hits, title).encode() if kind == "html" else _png(query, hits, title)
    with atomic_path(file) as temporary:
        temporary.write_bytes(content)


def draw_grid(query: Sequence[Tile], hits: Sequence[Tile], title: str = "") -> bytes:
    """The picture as PNG, with no query over it where none is given; see ``write_grid``."""
    return _png(query, hits, title)


def write_pairs(file: Path, pairs: Sequence[tuple[Tile, Tile]], title: str = "") -> None:
    """Write pictures two by two, the partners beside each other, replacing the file in one step.

    Args:
        file: ``.png``, ``.html`` or ``.htm``.
        pairs: what belongs together.
        title: over it.

    Raises:
        ConfigError: for another ending.
        CrosslensError: for a file that cannot be written.
    """
    # A row of a PNG holds an even number of tiles, so partners never part.
    tiles = [tile for pair in pairs for tile in pair]
    kind = check_grid_file(file)
    content = _pairs_html(pairs, title).encode() if kind == "html" else _png((), tiles, title)
    with atomic_path(file) as temporary:
        temporary.write_bytes(content)


def check_grid_file(file: Path) -> str:
    """``png`` or ``html``, by the file's ending.

    Raises:
        ConfigError: for another ending.
    """
    kinds = {".png": "png", ".html": "html", ".htm": "html"}
    if file.suffix.lower() not in kinds:
        raise ConfigError(f"a grid is a .png or .html file, not {file.name!r}")
    return kinds[file.suffix.lower()]


def _png(query: Sequence[Tile], hits: Sequence[Tile], title: str) -> bytes:
    step, height = SIDE + _GAP, SIDE + _CAPTION + _GAP
    query_rows, hit_rows = -(-len(query) // COLUMNS), -(-len(hits) // COLUMNS)
    width = _GAP + step * min(COLUMNS, max(len(query), len(hits), 3))
    top = _GAP + (24 if title else 0)
    split = top + query_rows * height
    canvas = Image.new("RGB", (width, split + 2 * _GAP + max(hit_rows * height, 24)), "white")
    pen = ImageDraw.Draw(canvas)
    _write(canvas, (_GAP, _GAP), _printable(title), _INK, width - 2 * _GAP, size=15)
    pen.line((_GAP, split, width - _GAP, split), fill=_DIM, width=1)
    for tiles, start in ((query, top), (hits, split + _GAP)):
        for number, tile in enumerate(tiles):
            x, y = _GAP + step * (number % COLUMNS), start + height * (number // COLUMNS)
            thumbnail = _thumbnail(tile)
            if thumbnail is None:
                pen.rectangle((x, y, x + SIDE, y + SIDE), fill=_EMPTY)
                for line, text in enumerate(_wrapped(tile.text)):
                    _write(canvas, (x + 8, y + 8 + 17 * line), text, _DIM, SIDE - 8)
            else:
                canvas.paste(thumbnail, (x + (SIDE - thumbnail.width) // 2, y + (SIDE - thumbnail.height) // 2))
            for line, text in enumerate(tile.caption):
                _write(canvas, (x, y + SIDE + 2 + 15 * line), _short(text), _DIM if line else _INK, SIDE + _GAP)
    if not hits:
        _write(canvas, (_GAP, split + _GAP), "nothing was found", _DIM, width - 2 * _GAP)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _write(
    canvas: Image.Image,
    place: tuple[int, int],
    text: str,
    ink: tuple[int, int, int],
    width: int,
    *,
    size: int = 13,
) -> None:
    """Draw a line of text; one that is not ASCII, which Pillow's own letters lack, in fonts of the system.

    Where it has none, a box stands for such a letter.

    Args:
        canvas: is drawn on.
        place: left and top of the line.
        text: with nothing in it that cannot be printed.
        ink: its colour.
        width: in pixels, at which such letters are cut off.
        size: of the letters in pixels.
    """
    # Pillow has the mark of what was cut off.
    if not text.replace("…", "").isascii():
        import resvg_py

        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{2 * size}"><text y="{size}"'
            f' font-size="{size}" font-family="sans-serif" fill="rgb{ink}" xml:space="preserve">{escape(text)}'
            "</text></svg>"
        )
        drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg))), formats=("PNG",))
        if drawn.getchannel("A").getbbox() is not None:
            canvas.paste(drawn, place, drawn)
            return
    ImageDraw.Draw(canvas).text(place, text, fill=ink, font=ImageFont.load_default(size))


def tiles_as_html(tiles: Sequence[Tile], note: str = "") -> str:
    """Tiles as a piece of HTML with everything inside it, for notebooks.

    Args:
        tiles: what is shown.
        note: a line under them.
    """
    figures = []
    for tile in tiles:
        thumbnail = _thumbnail(tile)
        shown = f"<small>{_shown(tile.text)}</small>"
        if thumbnail is not None:
            shown = f'<img alt="" style="max-width:100%;max-height:100%;margin:0" src="{_uri(thumbnail)}">'
        first, second = map(_shown, tile.caption)
        figures.append(
            f'<figure style="margin:0;width:{SIDE}px">'
            f'<div style="height:{SIDE}px;display:grid;place-items:center">{shown}</div>'
            f'<figcaption style="overflow-wrap:anywhere">{first}<br><small>{second}</small></figcaption></figure>'
        )
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:12px">{"".join(figures)}</div>'
        f"<p><small>{_shown(note)}</small></p>"
    )


def _html(query: Sequence[Tile], hits: Sequence[Tile], title: str) -> str:
    columns = f"repeat(auto-fill,minmax({SIDE}px,1fr))"
    parts = [_head(title or "Search", columns)]
    for heading, tiles in (("Query", query), ("Found", hits)):
        parts.append(f"<h2>{heading}</h2><ol>")
        parts += [f"<li>{_figure(tile)}</li>" for tile in tiles]
        parts.append("</ol>" if tiles else "</ol><p>nothing was found</p>")
    return "\n".join(parts) + "</html>\n"


def _pairs_html(pairs: Sequence[tuple[Tile, Tile]], title: str) -> str:
    width = 2 * SIDE
    parts = [_head(title or "Pairs", f"repeat(auto-fill,minmax(min(100%,{width}px),1fr))"), "<ol>"]
    sides = '<li style="display:grid;grid-template-columns:1fr 1fr">'
    parts += [f"{sides}{_figure(one)}{_figure(other)}</li>" for one, other in pairs]
    parts.append("</ol>" if pairs else "</ol><p>nothing was found</p>")
    return "\n".join(parts) + "</html>\n"


def _head(title: str, columns: str) -> str:
    """Everything above the first tile; ``columns`` says how a list is laid out."""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{_shown(title)}</title><style>",
            "body{font:14px system-ui,sans-serif;margin:16px;color:#191919;background:#fff}",
            f"ol{{list-style:none;padding:0;display:grid;gap:12px;grid-template-columns:{columns}}}",
            f"figure{{margin:0}}.tile{{height:{SIDE}px;display:grid;place-items:center;background:#eee}}",
            "img{max-width:100%;max-height:100%}figcaption{overflow-wrap:anywhere}small{color:#6e6e6e}",
            f"</style><h1>{_shown(title)}</h1>",
        ]
    )


def _figure(tile: Tile) -> str:
    thumbnail = _thumbnail(tile)
    shown = _shown(tile.text) if thumbnail is None else f'<img alt="" src="{_uri(thumbnail)}">'
    shown = f'<a href="{escape(tile.link)}">{shown}</a>' if tile.link else shown
    first, second = map(_shown, tile.caption)
    return (
        f'<figure><div class="tile">{shown}</div>'
        f"<figcaption>{first}<br><small>{second}</small></figcaption></figure>"
    )


def _shown(text: str) -> str:
    """Any text as HTML shows it: nothing in it is markup, hides or turns what stands beside it."""
    return escape(visible(text))


def _thumbnail(tile: Tile) -> Image.Image | None:
    if tile.picture is None:
        return None
    try:
        picture = decode(tile.picture, mode="fast", min_side=SIDE)
    except ImageError:
        return None
    picture.thumbnail((SIDE, SIDE))
    return picture


def _uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    # Pixels only: comments and colour profiles of the file would come along.
    Image.frombytes("RGB", picture.size, picture.tobytes()).save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _wrapped(text: str) -> list[str]:
    printable = _printable(text)
    # Letters of Japanese are as wide as two.
    return textwrap.wrap(printable, 20 if cell_len(printable) == len(printable) else 10)[:8]


def _short(text: str, most: int = 23) -> str:
    printable = _printable(text)
    return printable if cell_len(printable) <= most else chop_cells(printable, most - 1)[0] + "…"


def _printable(text: str) -> str:
    """What can be drawn on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
