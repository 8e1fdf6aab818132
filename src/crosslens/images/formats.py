"""The formats of pictures: which are read, how each is told, and which are known but left out.

The one list that readers of folders, the decoder, the server, its uploads and the page go by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec

HEAD = 1 << 16
"""Bytes from the beginning of a file that tell its format; those of a drawing may be comments for long."""


@dataclass(frozen=True, eq=False)
class Format:
    """One format that can be read.

    Attributes:
        name: as people call it.
        suffixes: in small letters with the dot; the first is the one that a stored upload gets.
        media_type: the type that a server names.
        pillow: Pillow's names of it; empty where another library reads it.
        needs: a package beside crosslens's own that must be installed, or None.
    """

    name: str
    suffixes: tuple[str, ...]
    media_type: str
    pillow: tuple[str, ...] = ()
    needs: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or find_spec(self.needs) is not None


JPEG = Format(
    "JPEG",
    (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "image/jpeg",
    # What phones and 3-D cameras write is JPEG with further pictures behind the first.
    ("JPEG", "MPO"),
)
PNG = Format("PNG", (".png", ".apng"), "image/png", ("PNG",))
WEBP = Format("WebP", (".webp",), "image/webp", ("WEBP",))
GIF = Format("GIF", (".gif",), "image/gif", ("GIF",))
BMP = Format("BMP", (".bmp", ".dib"), "image/bmp", ("BMP", "DIB"))
TIFF = Format("TIFF", (".tif", ".tiff"), "image/tiff")
PNM = Format("PNM", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), "image/x-portable-anymap", ("PPM",))
HEIC = Format("HEIC", (".heic", ".heif", ".hif"), "image/heic", ("HEIF",))
AVIF = Format("AVIF", (".avif",), "image/avif", ("AVIF",))
JPEG_2000 = Format("JPEG 2000", (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"), "image/jp2", ("JPEG2000",))
ICO = Format("ICO", (".ico",), "image/vnd.microsoft.icon", ("ICO",))
SVG = Format("SVG", (".svg",), "image/svg+xml")
RAW = Format(
    "RAW",
    (
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf", ".rw2", ".rwl"),
        *(".pef", ".srw", ".x3f", ".3fr", ".fff", ".iiq", ".erf", ".mef", ".mos", ".mrw", ".kdc", ".dcr", ".gpr"),
    ),
    "image/x-dcraw",
    needs="rawpy",
)

FORMATS = (JPEG, PNG, WEBP, GIF, BMP, TIFF, PNM, HEIC, AVIF, JPEG_2000, ICO, SVG, RAW)
"""Every format that can be read. EPS, PDF and the like run interpreters or macros; they are never opened."""

NAMES = ", ".join(kind.name for kind in FORMATS if kind.is_read)
"""The formats that are read here, for messages."""

SUFFIXES = frozenset(suffix for kind in FORMATS if kind.is_read for suffix in kind.suffixes)
"""The suffixes by which folders are read, in small letters with the dot."""

_OTHERS = (
    ".psd .psb .xcf .kra .ora .ai .eps .ps .pdf .indd .cdr .afphoto .afdesign .jxl .jxr .wdp .hdp .jls .svgz .emf"
    " .wmf .tga .pcx .dcx .sgi .xbm .xpm .qoi .dds .icns .cur .ani .exr .hdr .pcd .raw .djvu .dcm .fits .flif .bpg"
    " .heics .avifs"
)
UNREAD_SUFFIXES = (
    frozenset(suffix for kind in FORMATS for suffix in kind.suffixes) | frozenset(_OTHERS.split())
) - SUFFIXES
"""Suffixes of pictures that are left out of a folder; how many there are is said."""

_FILMS = ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .3gp .mts .m2ts .wmv .flv .ogv .insv"
FILM_SUFFIXES = frozenset(_FILMS.split())
"""Suffixes of films, which are left out of a folder; how many there are is said."""

_SVG = re.compile(rb"(<\?xml\b|<!--|<!DOCTYPE\s+svg\b|<([A-Za-z_][\w.-]*:)?svg\b)")
_SVG_ROOT = re.compile(rb"<([A-Za-z_][\w.-]*:)?svg[\s>/]")
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    b"crx ": RAW,
}
_DIB_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_STARTS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"\0\0\x01\0", ICO),
    *((start, RAW) for start in _RAW_STARTS),
)


def format_of(head: bytes) -> Format | None:
    """The format that a file begins as, whatever it is called; None when it is none of ``FORMATS``.

    Args:
        head: the first ``HEAD`` bytes of the file, or more.

    Camera files that look like TIFF (DNG, NEF, ARW) are told from it by the decoder alone.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return RAW if head[8:10] == b"CR" else TIFF
    if re.match(rb"P[1-6f][\s#]", head):
        return PNM
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if int.from_bytes(head[:4], "little") in _DIB_HEADERS and head[12:14] == b"\x01\0":
        return BMP
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[2:].replace(b"\0", b"").lstrip()
    return SVG if _SVG.match(text) and _SVG_ROOT.search(text) else None


def _by_brand(head: bytes) -> Format | None:
    """HEIC and AVIF share a container; the first brand that is one of theirs decides."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, length, 4))]
    if brands[0] in _BRANDS:
        return _BRANDS[brands[0]]
    if brands[0] in (b"mif1", b"msf1", b"mif2", b"miaf", b"MA1B", b"MA1A"):
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), HEIC)
    return None
