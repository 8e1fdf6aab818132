"""What a picture says of itself besides its pixels: EXIF, IPTC and XMP, read from the head of its file.

Nothing here is needed to decode it, so whatever cannot be read is simply not known.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin, TiffImagePlugin

from crosslens.images.formats import HEAD, HEIC, RAW, SVG, TIFF, format_of
from crosslens.images.orientation import orientation_of

_LONGEST = 1000
"""Letters of a title."""
_MOST_WORDS = 200
_MOST_XMP = 1 << 20
_SWAPPED = (5, 6, 7, 8)
"""Orientations that lay a picture on its side."""
_NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
}


@dataclass(frozen=True)
class Facts:
    """What is known of a picture without decoding it.

    Attributes:
        width: in pixels, upright; 0 where it is not known.
        height: in pixels, upright.
        columns: ``taken`` (``2026-01-31T12:00:00``, by the camera's clock), ``camera`` (its model),
            ``orientation`` (``landscape``, ``portrait`` or ``square``, upright), ``title``, ``keywords``, and
            where asked for ``latitude`` and ``longitude`` in degrees; those that are known.
    """

    width: int = 0
    height: int = 0
    columns: dict[str, Any] = field(default_factory=dict)


def read_facts(source: str | Path | bytes, *, gps: bool = False) -> Facts:
    """What a picture says of itself; nothing where its head cannot be read, and for SVG and RAW.

    Args:
        source: path of the file, or its first bytes; what lies behind them is not known then.
        gps: whether the place where it was taken may be read.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as handle:
            kind = format_of(handle.read(HEAD))
            handle.seek(0)
            if kind is None or kind in (SVG, RAW):
                return Facts()
            with _opened(handle, kind) as image:
                return _facts(image, gps)
    except Exception:
        # Damaged files bring out every kind of error, which decoding them names.
        return Facts()


def _opened(handle: Any, kind: Any) -> Image.Image:
    if kind is HEIC:
        from pillow_heif import HeifImageFile

        opened: Image.Image = HeifImageFile(handle)
        return opened
    return Image.open(handle, formats=("TIFF",) if kind is TIFF else kind.pillow)


def _facts(image: Image.Image, gps: bool) -> Facts:
    exif, xmp, iptc = (_safely(read, image) for read in (_exif, _xmp, _iptc))
    # Of PNG Pillow would decode every pixel to look for a block behind them; the size of TIFF it turns by itself.
    lies = exif is not None and image.format != "TIFF" and orientation_of(image) in _SWAPPED
    width, height = reversed(image.size) if lies else image.size
    told = {
        "taken": _safely(_first, _taken(exif, xmp, iptc)),
        "camera": _safely(_first, _camera(exif, xmp)),
        "orientation": "square" if width == height else "landscape" if width > height else "portrait",
        "title": _safely(_first, _titles(exif, xmp, iptc)),
        "keywords": _safely(lambda sources: _keywords(*sources), (exif, xmp, iptc)) or None,
    }
    if gps and exif is not None:
        told |= _safely(_place, exif) or {}
    return Facts(width, height, {name: value for name, value in told.items() if value is not None})


def _safely(read: Callable[[Any], Any], source: Any) -> Any:
    try:
        return read(source)
    except Exception:
        return None


def _exif(image: Image.Image) -> Image.Exif | None:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.getexif()
    block = image.info.get("exif")
    if not isinstance(block, bytes):
        return None
    exif = Image.Exif()
    exif.load(block)
    return exif


def _xmp(image: Image.Image) -> ElementTree.Element | None:
    block = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    block = block.encode() if isinstance(block, str) else block
    block = block.strip(b" \0\r\n\t")
    # A document type could define entities that grow without bound.
    if not block or len(block) > _MOST_XMP or b"<!DOCTYPE" in block or b"<!ENTITY" in block:
        return None
    return ElementTree.fromstring(block)


def _iptc(image: Image.Image) -> dict[tuple[int, int], Any] | None:
    return IptcImagePlugin.getiptcinfo(image) if isinstance(image, ImageFile.ImageFile) else None


def _taken(exif: Image.Exif | None, xmp: Any, iptc: Any) -> Iterator[str | None]:
    if exif is not None:
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized):
            yield _moment(inner.get(tag))
    for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate"):
        yield _moment(_first(_values(xmp, name)))
    if iptc:
        day, clock = (_text(iptc.get((2, number))) or "" for number in (55, 60))
        clock = clock.ljust(6, "0")
        yield _moment(f"{day[:4]}-{day[4:6]}-{day[6:8]}T{clock[:2]}:{clock[2:4]}:{clock[4:6]}")


def _camera(exif: Image.Exif | None, xmp: Any) -> Iterator[str | None]:
    if exif is not None:
        yield _text(exif.get(ExifTags.Base.Model))
    yield from _values(xmp, "tiff:Model")


def _titles(exif: Image.Exif | None, xmp: Any, iptc: Any) -> Iterator[str | None]:
    yield from _values(xmp, "dc:title")
    if iptc:
        yield _text(iptc.get((2, 5)))
    if exif is not None:
        yield _text(exif.get(ExifTags.Base.XPTitle), "utf-16-le")
        described = _text(exif.get(ExifTags.Base.ImageDescription))
        # What cameras write there by themselves.
        yield None if described is None or "DIGITAL CAMERA" in described.upper() else described


def _keywords(exif: Image.Exif | None, xmp: Any, iptc: Any) -> list[str]:
    found = list(_values(xmp, "dc:subject"))
    if iptc:
        several = iptc.get((2, 25)) or []
        found += [_text(one) for one in (several if isinstance(several, list) else [several])]
    if exif is not None:
        found += (_text(exif.get(ExifTags.Base.XPKeywords), "utf-16-le") or "").split(";")
    words = dict.fromkeys(word.strip() for word in found if word and word.strip())
    return list(words)[:_MOST_WORDS]


def _place(exif: Image.Exif) -> dict[str, float]:
    tags = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place = {}
    for name, tag, reference, most, turned in (
        ("latitude", ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, 90, "S"),
        ("longitude", ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, 180, "W"),
    ):
        degrees, minutes, seconds = (float(part) for part in tags[tag])
        value = degrees + minutes / 60 + seconds / 3600
        if not 0 <= value <= most:
            return {}
        place[name] = round(-value if (_text(tags.get(reference)) or "").upper().startswith(turned) else value, 6)
    return place


def _values(xmp: ElementTree.Element | None, name: str) -> Iterator[str | None]:
    """The values of an XMP property, whether it is an attribute, a text, or a list; the default language first."""
    if xmp is None:
        return
    prefix, _, local = name.partition(":")
    tag = f"{{{_NAMESPACES[prefix]}}}{local}"
    for described in xmp.iter(f"{{{_NAMESPACES['rdf']}}}Description"):
        yield _text(described.get(tag))
        for element in described.findall(tag):
            items = list(element.iter(f"{{{_NAMESPACES['rdf']}}}li"))
            items.sort(key=lambda item: item.get("{http://www.w3.org/XML/1998/namespace}lang") != "x-default")
            yield from (_text(item.text) for item in items)
            if not items:
                yield _text(element.text)


def _moment(value: Any) -> str | None:
    text = _text(value) or ""
    found = re.match(r"(\d{4})[-:](\d\d)[-:](\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?", text)
    if found is None:
        return None
    try:
        return datetime(*(int(part or 0) for part in found.groups())).isoformat()  # type: ignore[arg-type]
    except ValueError:  # 0000:00:00
        return None


def _text(value: Any, encoding: str = "utf-8") -> str | None:
    """A tag's text in one line; None where it is none."""
    if isinstance(value, tuple | list) and value:
        value = bytes(value) if all(isinstance(one, int) for one in value) else value[0]
    if isinstance(value, bytes):
        try:
            value = value.decode(encoding)
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    if not isinstance(value, str):
        return None
    # Pillow reads EXIF's text as Latin-1, in which many programs write UTF-8.
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    plain = "".join(" " if unicodedata.category(one)[0] == "C" else one for one in value)
    plain = unicodedata.normalize("NFC", " ".join(plain.split()))
    return plain[:_LONGEST] or None


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)
