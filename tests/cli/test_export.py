"""``crosslens export``."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from crosslens.encoder import Encoder, load_encoder
from testing.tiny_backbone import SIDE


@pytest.mark.parametrize("kind", ["onnx", "torchscript", "safetensors"])
def test_each_format_is_written_and_said(cli, tmp_path, kind):
    out = tmp_path / "out"
    status, printed, _ = cli("export", "tiny", "--format", kind, "--out", out, "--json", tmp_path / "r.json")
    assert status == 0
    said = json.loads((tmp_path / "r.json").read_text())
    assert said["dim"] == 64
    assert said["files"] == {file.name: file.stat().st_size for file in out.iterdir()}
    assert str(out) in printed


def test_an_exported_folder_is_an_encoder(cli, tmp_path):
    assert cli("export", "tiny", "--format", "safetensors", "--out", tmp_path / "out")[0] == 0
    assert Encoder.load(tmp_path / "out").encode_images(Image.new("RGB", (SIDE, SIDE))).shape == (1, 64)


def test_a_domain_that_is_not_known_is_refused(cli, tmp_path):
    status, _, error = cli("export", "tiny", "--domain", "sketch", "--out", tmp_path / "out")
    assert status == 2
    assert "sketch" in error
    assert not (tmp_path / "out").exists()


def drawn(transparent, size=(300, 421)):
    """A dark drawing on white, or on nothing."""
    image = Image.new("RGBA", size, (0, 0, 0, 0) if transparent else "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 90, 250, 300), outline=(20, 20, 20, 255), width=9)
    pen.line((30, 400, 270, 60), fill=(150, 30, 30, 255), width=14)
    return image if transparent else image.convert("RGB")


@pytest.mark.parametrize("encoder", ["tiny", pytest.param("lite", marks=pytest.mark.slow)])
def test_the_code_of_the_page_gives_the_same_vectors(cli, tmp_path, monkeypatch, encoder):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    monkeypatch.chdir(tmp_path)
    assert cli("export", encoder, "--format", "onnx", "--out", "sketch-encoder")[0] == 0
    known = load_encoder(encoder)
    for image in (drawn(False), drawn(True), drawn(True, (640, 300))):
        image.save("sketch.png")
        names = {}
        exec(code, names)
        assert float(np.sum(names["vector"][0] * known.encode_images(Path("sketch.png"))[0])) > 0.999
