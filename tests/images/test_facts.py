"""What pictures say of themselves, written by Pillow and by hand, and what damaged ones do not."""

import struct

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from crosslens.images.facts import Facts, read_facts

XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmp:CreateDate="2020-05-06T07:08:09.5+02:00" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Model="Scanner">
<dc:title><rdf:Alt><rdf:li xml:lang="de">Hafen</rdf:li><rdf:li xml:lang="x-default">Harbour</rdf:li></rdf:Alt>
</dc:title>
<dc:subject><rdf:Bag><rdf:li>sea</rdf:li><rdf:li> boats </rdf:li><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def exif(**more):
    block = Image.Exif()
    block[ExifTags.Base.Model] = "X100V\0"
    block[ExifTags.Base.Orientation] = 6
    block[ExifTags.Base.ImageDescription] = "OLYMPUS DIGITAL CAMERA"
    block[ExifTags.Base.XPTitle] = "Größe".encode("utf-16-le") + b"\0\0"
    block[ExifTags.Base.XPKeywords] = "one;two".encode("utf-16-le")
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:01:31 12:34:56"
    gps = block.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitude], gps[ExifTags.GPS.GPSLatitudeRef] = (48.0, 30.0, 0.0), "S"
    gps[ExifTags.GPS.GPSLongitude], gps[ExifTags.GPS.GPSLongitudeRef] = (2.0, 0.0, 36.0), "E"
    return block


TOLD = {
    "taken": "2024-01-31T12:34:56",
    "camera": "X100V",
    "orientation": "portrait",
    "title": "Größe",
    "keywords": ["one", "two"],
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_exif_in_every_format(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (60, 40), "red").save(file, exif=exif())
    found = read_facts(file)
    # Pillow writes no directories below the first one of a TIFF.
    below = {"taken"} if suffix == "tif" else set()
    assert found.columns == {name: value for name, value in TOLD.items() if name not in below}
    assert (found.width, found.height) == (40, 60)
    if not below:
        place = read_facts(file, gps=True).columns
        assert place == TOLD | {"latitude": -48.5, "longitude": 2.01}


def test_heic(tmp_path):
    from pillow_heif import from_pillow

    from_pillow(Image.new("RGB", (64, 48), "red")).save(tmp_path / "a.heic", exif=exif().tobytes())
    assert read_facts(tmp_path / "a.heic").columns.items() >= {"camera": "X100V", "taken": TOLD["taken"]}.items()


def test_xmp_in_jpeg_and_png(tmp_path):
    told = {
        "taken": "2020-05-06T07:08:09", "camera": "Scanner", "title": "Harbour", "keywords": ["sea", "boats"],
        "orientation": "square",
    }  # fmt: skip
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg", xmp=XMP.encode())
    assert read_facts(tmp_path / "a.jpg").columns == told
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png", pnginfo=info)
    assert read_facts(tmp_path / "a.png").columns == told


def iptc(*fields):
    block = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text for number, text in fields)
    block += b"\0" * (len(block) % 2)
    resource = b"8BIM" + struct.pack(">HBBI", 0x0404, 0, 0, len(block)) + block
    body = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def test_iptc(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (80, 40)).save(file)
    block = iptc(
        (5, "Café".encode()), (25, b"sea"), (25, "Möwe".encode("latin-1")), (55, b"20230102"), (60, b"0304")
    )
    plain = file.read_bytes()
    file.write_bytes(plain[:2] + block + plain[2:])
    assert read_facts(file).columns == {
        "title": "Café", "keywords": ["sea", "Möwe"], "taken": "2023-01-02T03:04:00", "orientation": "landscape"
    }  # fmt: skip


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_dates_that_are_none(tmp_path, taken):
    block = Image.Exif()
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg", exif=block)
    assert read_facts(tmp_path / "a.jpg").columns == {"orientation": "square"}


def test_damaged_blocks_and_files_tell_nothing(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]>' + XMP
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg", xmp=bomb.encode(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_facts(tmp_path / "a.jpg").columns == {"orientation": "square"}
    for name, content in (
        ("b.jpg", b"\xff\xd8\xff"),
        ("c.jpg", b""),
        ("d.svg", b"<svg xmlns='x'/>"),
        ("e.jpg", b"x"),
    ):
        (tmp_path / name).write_bytes(content)
        assert read_facts(tmp_path / name) == Facts()
    assert read_facts(tmp_path / "none.jpg") == Facts()


def test_an_animation_that_pillow_cannot_end_is_read_from_its_head(tmp_path):
    file = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "blue").save(file)
    file.write_bytes(file.read_bytes()[:60])
    assert (read_facts(file).width, read_facts(file).height) == (40, 40)
