"""The page in the package was built from the source beside it, and asks nobody but its own server."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

import crosslens.server

ROOT = Path(__file__).parents[3]
WEB = ROOT / "web"
BUILT = Path(crosslens.server.__file__).parent / "web"
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src", "public")


pytestmark = pytest.mark.skipif(
    not WEB.is_dir(), reason="the page's source is not here, only what was built of it"
)


def digests(root, *places):
    paths = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    files = {path.relative_to(root).as_posix(): path for path in paths if path.is_file()}
    return {name: sha256(files[name].read_bytes()).hexdigest() for name in sorted(files)}


def test_the_built_page_fits_its_source():
    stamp = json.loads((BUILT / "build.json").read_text())
    lines = "".join(
        f"{name} {digest}\n" for name, digest in digests(WEB, *(WEB / name for name in SOURCES)).items()
    )
    assert sha256(lines.encode()).hexdigest() == stamp["source"], "the page is stale: run 'make web' and commit"


def test_nobody_touched_what_was_built():
    stamp = json.loads((BUILT / "build.json").read_text())
    found = digests(BUILT, BUILT)
    del found["build.json"]
    assert found == stamp["files"]


def test_it_is_small():
    assert sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file()) < 150_000


def test_it_holds_no_address_but_name_spaces():
    """No script, font or picture of another server; the only addresses are those of XML name spaces."""
    text = "".join(
        path.read_text() for path in BUILT.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg")
    )
    found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`)]*", text))
    assert found <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1998/Math/MathML",
    }


def test_the_policy_allows_it():
    """Nothing in the first page needs 'unsafe-inline' or 'unsafe-eval'."""
    html = (BUILT / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    code = "".join(path.read_text() for path in BUILT.rglob("*.js"))
    assert "eval(" not in code
    assert "new Function" not in code


def test_source_files_stay_short():
    long = {
        path.name: lines
        for path in (WEB / "src").rglob("*.ts*")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert not long


def test_the_page_offers_the_pictures_that_are_read():
    from crosslens.images.formats import FORMATS

    told = (WEB / "src" / "state" / "formats.ts").read_text()
    listed = re.findall(r'"(\.\w+)"', told.partition("];")[0])
    assert listed == [suffix for kind in FORMATS if kind.needs is None for suffix in kind.suffixes]
