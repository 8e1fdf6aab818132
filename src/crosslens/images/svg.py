"""SVG: drawn at a bounded size, from nothing but what the file itself holds."""

from __future__ import annotations

import base64
import binascii
import io
import re
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

from PIL import Image

from crosslens.images.formats import HEAD, SVG, format_of
from crosslens.images.picture import Picture, Pixels
from crosslens.support.errors import ImageError

SIDE = 1024
"""Longer side of the drawing in pixels."""
_MOST_BYTES = 16 << 20
_MOST_WORK = 1_000_000
_FILTER_WORK = 20_000
"""Work of one step of a filter over the whole drawing, where an element is 1."""
_REFERENCE = re.compile(r"url\(\s*['\"]?#([^)'\"]+)")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_MARK = re.compile(r"[.#]?[\w-]+|\*")
_DEEPEST = 100
# Pictures inside the drawing, and steps of filters that read one.
_EMBEDDED = ("image", "feImage")


def svg_picture(content: bytes, embedded: Callable[[bytes], bool]) -> Picture:
    """Open an SVG.

    Scripts and animations are not run; other files, addresses and drawings inside the drawing are left out.

    Args:
        content: the file.
        embedded: whether a picture inside the drawing, JPEG, PNG, GIF or WebP, is small enough to be decoded.

    Raises:
        ImageError: when it is too large or would take too long, or is no SVG.
    """
    if len(content) > _MOST_BYTES:
        raise ImageError(f"an SVG of {len(content):,} bytes is above the limit of {_MOST_BYTES:,}")
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ImageError(f"the SVG cannot be read: {error}") from None
    if _local(root.tag) != "svg":
        raise ImageError("it is XML but no SVG")
    _require_shallow(root)
    _close(root, embedded)
    if _work(root) > _MOST_WORK:
        raise ImageError("the SVG repeats its parts too often to be drawn")
    return Picture(SVG, (SIDE, SIDE), lambda mode, min_side: Pixels(_draw(root)))


def _draw(root: ET.Element) -> Image.Image:
    import resvg_py

    has_text = any(_local(element.tag) == "text" for element in root.iter())
    try:
        drawn = resvg_py.svg_to_bytes(
            ET.tostring(root, encoding="unicode"),
            width=SIDE,
            height=SIDE,  # both: the drawing fits into the square, whatever its shape
            dpi=96,  # CSS's; without it drawings measured in millimetres have no size
            skip_system_fonts=not has_text,  # looking for fonts costs more than drawing
        )
    except ValueError as error:
        raise ImageError(f"the SVG cannot be drawn: {error}") from None
    image = Image.open(io.BytesIO(bytes(drawn)), formats=("PNG",))
    image.load()
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        raise ImageError("the SVG draws nothing: its parts may lie in other files, which are not opened")
    return image


def _local(tag: object) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _require_shallow(root: ET.Element) -> None:
    layer, depth = [root], 0
    while layer:
        depth += 1
        if depth > _DEEPEST:
            raise ImageError(f"the SVG is more than {_DEEPEST} elements deep")
        layer = [child for element in layer for child in element]


def _close(root: ET.Element, embedded: Callable[[bytes], bool]) -> None:
    """Remove every reference that leads out of the file, and pictures that are too large."""
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if _local(name) == "href":
                target = value.strip()
                inside = target.startswith("#")
                if not inside and _local(element.tag) in _EMBEDDED:
                    inside = embedded(_data(target))
                if not inside:
                    del element.attrib[name]
            elif name == "numOctaves":
                # More than this cannot be seen, and a huge number would never end.
                element.attrib[name] = "8" if not value.strip().isdigit() or int(value) > 8 else value


def _data(uri: str) -> bytes:
    """The bytes of a ``data:`` address; empty where the address is another or holds a drawing."""
    head, comma, body = uri.partition(",")
    if not comma or not head.lower().startswith("data:image/"):
        return b""
    try:
        content = base64.b64decode(urllib.parse.unquote(body)) if ";base64" in head.lower() else b""
    except (binascii.Error, ValueError):
        return b""
    kind = format_of(content[:HEAD])
    return content if kind is not None and kind is not SVG else b""


def _work(root: ET.Element) -> float:
    """Elements that are drawn in all, references counted as often as they are followed.

    Raises:
        ImageError: for references in a circle, or nested too deep.
    """
    named = {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}
    rules = _rules(root)
    known: dict[int, float] = {}

    def work(element: ET.Element, above: frozenset[int]) -> float:
        if id(element) in above or len(above) > _DEEPEST:
            raise ImageError("the SVG's parts refer to one another in a circle or too deep")
        if id(element) not in known:
            inner = above | {id(element)}
            total = float(_FILTER_WORK) if _local(element.tag).startswith("fe") else 1.0
            total += sum(work(child, inner) for child in element)
            # A marker is drawn at every corner of a path.
            corners = 1 + len(element.attrib.get("d", element.attrib.get("points", ""))) // 4
            for text in _list_references(element, rules):
                times = corners if "marker" in text else 1
                targets = [named[target] for target in _REFERENCE.findall(text) if target in named]
                total += times * sum(work(target, inner) for target in targets)
            known[id(element)] = min(total, 10.0 * _MOST_WORK)
        return known[id(element)]

    return work(root, frozenset())


def _list_references(element: ET.Element, rules: list[tuple[str, str]]) -> Iterator[str]:
    """What may refer to other elements: an element's attributes and the rules of style sheets for it."""
    for name, value in element.attrib.items():
        if _local(name) == "href" and value.startswith("#"):
            yield f"url({value})"
        elif "url(" in value:
            yield f"{_local(name)}: {value}"
    if rules:
        marks = {"*", _local(element.tag), *("." + name for name in element.attrib.get("class", "").split())}
        marks.add("#" + element.attrib.get("id", ""))
        yield from (rule for mark, rule in rules if mark in marks)


def _rules(root: ET.Element) -> list[tuple[str, str]]:
    """Rules of the style sheets that refer to elements, each under every name in its selectors."""
    sheets = (element.text or "" for element in root.iter() if _local(element.tag) == "style")
    return [
        (mark, rule)
        for sheet in sheets
        for selectors, rule in _RULE.findall(sheet)
        if "url(" in rule
        for mark in _MARK.findall(selectors)
    ]
