from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosslens.images.decode import decode
from crosslens.support.errors import ImageError
from testing.picture_files import encoded

RED = '<rect width="100" height="25" fill="red"/>'


def svg(body: str, attributes: str = 'viewBox="0 0 100 50"') -> bytes:
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {space} {attributes}>{body}</svg>".encode()


def halves(content: bytes) -> tuple[list[int], list[int]]:
    """The mean colours above and below the middle."""
    shown = np.asarray(decode(content)).astype(float)
    middle = len(shown) // 2
    return shown[: middle - 1].mean((0, 1)).tolist(), shown[middle + 1 :].mean((0, 1)).tolist()


DOCTYPE = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
SAME = {
    "plain": svg(RED),
    "with a declaration": b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- drawn -->\n'
    + DOCTYPE.encode()
    + svg(RED),
    "UTF-16": ('<?xml version="1.0" encoding="UTF-16"?>' + svg(RED).decode()).encode("utf-16"),
    "behind a long comment": b"<!--" + b" " * 20_000 + b"-->" + svg(RED),
    "with a byte order mark": b"\xef\xbb\xbf" + svg(RED),
    "in millimetres": svg(RED, 'width="100mm" height="50mm" viewBox="0 0 100 50"'),
    "of another size": svg(RED, 'width="2" height="1" viewBox="0 0 100 50"'),
    "an entity": b'<!DOCTYPE svg [<!ENTITY c "red">]>' + svg(RED.replace("red", "&c;")),
    "a style sheet": svg("<style>.a{fill:red}</style>" + RED.replace('fill="red"', 'class="a"')),
    "a script beside": svg("<script>document.documentElement.remove()</script>" + RED),
    "a handler": svg(RED.replace("fill", 'onload="alert(1)" fill')),
}


@pytest.mark.parametrize("kind", SAME)
def test_drawings(kind: str) -> None:
    assert decode(SAME[kind]).size == (1024, 512)
    above, below = halves(SAME[kind])
    assert above == pytest.approx([255, 0, 0], abs=1)
    assert below == [255, 255, 255]


@pytest.mark.parametrize("attributes", ['width="100000" height="1"', 'width="1" height="100000"', ""])
def test_the_size_is_bounded_whatever_the_file_says(attributes: str) -> None:
    assert max(decode(svg(RED, attributes)).size) == 1024


def test_pictures_inside_the_file_are_shown_and_others_never_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 4), (255, 0, 0)).save(secret)
    inside = "data:image/png;base64," + base64.b64encode(secret.read_bytes()).decode()
    frame = '<image {}="{}" width="100" height="50" preserveAspectRatio="none"/>'
    assert halves(svg(frame.format("href", inside)))[0] == pytest.approx([255, 0, 0], abs=1)
    nested = "data:image/svg+xml;base64," + base64.b64encode(svg(frame.format("href", secret))).decode()
    large = encoded(Image.new("L", (10_000, 10_000)), "PNG")
    bomb = "data:image/png;base64," + base64.b64encode(large).decode()
    for name in ("href", "xlink:href"):
        for outside in (secret, secret.as_uri(), "secret.png", "http://127.0.0.1:9/x.png", nested, bomb):
            with pytest.raises(ImageError, match="draws nothing"):
                decode(svg(frame.format(name, outside)))
    outside = b'<!DOCTYPE svg [<!ENTITY a SYSTEM "' + secret.as_uri().encode() + b'">]>'
    with pytest.raises(ImageError, match="cannot be read"):
        decode(outside + svg("<text>&a;</text>" + RED))


def nested(kind: str) -> bytes:
    """Ten levels that each show the one below ten times."""
    if kind == "use":
        levels = ['<g id="u0"><rect width="1" height="1"/></g>']
        levels += [f'<g id="u{n}">' + f'<use href="#u{n - 1}"/>' * 10 + "</g>" for n in range(1, 10)]
        return svg(f'<defs>{"".join(levels)}</defs><use href="#u9"/>')
    fill = 'fill="url(#u{})"' if kind == "pattern" else 'class="c{}"'
    levels = [
        f'<pattern id="u{n}" width="9" height="9" patternUnits="userSpaceOnUse">'
        + f'<rect width="9" height="9" {fill.format(n - 1)}/>' * 10
        + "</pattern>"
        for n in range(1, 10)
    ]
    style = "".join(f".c{n}{{fill:url(#u{n})}}" for n in range(10)) if kind == "class" else ""
    first = '<pattern id="u0" width="1" height="1"><rect width="1" height="1"/></pattern>'
    last = f'<rect width="9" height="9" {fill.format(9)}/>'
    return svg(f"<style>{style}</style><defs>{first}{''.join(levels)}</defs>{last}")


BOMBS = {
    **{f"nested by {kind}": nested(kind) for kind in ("use", "pattern", "class")},
    "entities": (
        '<!DOCTYPE svg [<!ENTITY e0 "lol">'
        + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
        + "]>"
    ).encode()
    + svg("<text>&e9;</text>"),
    "depth": svg("<g>" * 5000 + "</g>" * 5000),
    "a circle": svg('<g id="a"><use href="#a"/></g>'),
    "filters": svg(
        '<filter id="f">'
        + '<feGaussianBlur stdDeviation="20"/>' * 50
        + "</filter>"
        + '<rect width="100" height="50" filter="url(#f)"/>' * 50
    ),
    "size": svg(RED + " " * (17 << 20)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_before_they_are_drawn(kind: str) -> None:
    with pytest.raises(ImageError, match="SVG"):
        decode(BOMBS[kind])


def test_html_and_other_xml_are_no_pictures() -> None:
    for content in (b"<html><body><svg></svg></body></html>", b"<?xml version='1.0'?><gpx/>"):
        with pytest.raises(ImageError, match="not an image"):
            decode(content)
