"""``crosslens export``."""

import json

import pytest
from PIL import Image

from crosslens.encoder import Encoder
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
