"""A strict reader of report pages: balanced tags, unique ids, and what the page would ask the network for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# SVG elements that matplotlib closes at once; in SVG "/>" does close, in HTML it would not.
SVG = {"path", "use", "rect", "defs"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    inside: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()


@dataclass
class Page(HTMLParser):
    """Parse at once; raises AssertionError for a tag that closes another one or none."""

    html: str
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.html)
        self.close()
        assert not self.open, [element.tag for element in self.open]

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice in {tag}: {attrs}"
        element = Element(tag, dict(attrs), inside=tuple(parent.tag for parent in self.open))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG | VOID, f"<{tag}/> does not close in HTML"
        self.elements.append(Element(tag, dict(attrs), inside=tuple(parent.tag for parent in self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str, *classes: str) -> list[Element]:
        return [e for e in self.elements if e.tag == tag and set(classes) <= set(e.classes)]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", next(e for e in self.elements if e.tag == "body").text)

    @property
    def references(self) -> list[str]:
        """What a browser would load or link to."""
        names = ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "background")
        found = [value or "" for e in self.elements for name, value in e.attributes.items() if name in names]
        styles = [e.text for e in self.elements if e.tag == "style"]
        styles += [value or "" for e in self.elements for name, value in e.attributes.items() if name == "style"]
        clips = [value or "" for e in self.elements for name, value in e.attributes.items() if name == "clip-path"]
        for style in styles + clips:
            assert "@import" not in style
            found += re.findall(r"url\(([^)]*)\)", style)
        return found
