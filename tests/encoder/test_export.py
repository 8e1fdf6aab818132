"""Exported networks compute what the encoder computes, and refuse what they cannot."""

import json
from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.engine import ExportError
from crosslens.encoder import Encoder
from crosslens.encoder.export import export_encoder
from crosslens.encoder.parts import Centre, DomainMap, Heads, Joint, ProjectionHead, Whitened
from crosslens.nn.heads import Head
from crosslens.nn.projection import Projection, ProjectionShape
from crosslens.support.errors import ConfigError
from testing.tiny_backbone import SIDE, TinyBackbone
from testing.tiny_pictures import draw


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


def headed(*parts):
    torch.manual_seed(0)
    means = {"photo": torch.randn(64), "sketch": torch.randn(64)}
    maps = {"sketch": torch.linalg.qr(torch.randn(8, 8)).Q}
    heads = [Head((64, 16, 8)), Head((64, 16, 8))]
    return Encoder(TinyBackbone(), [Heads(heads), Centre(means), DomainMap(maps), *parts], method="ucdir")


def with_whitened():
    torch.manual_seed(1)
    means = {"photo": torch.randn(64) / 8, "sketch": torch.randn(64) / 8}
    return headed(Whitened(torch.randn(64, 12), means, 0.3))


def hyperbolic():
    torch.manual_seed(2)
    return Encoder(TinyBackbone(), [ProjectionHead(Projection(ProjectionShape(sizes=(64, 16))))], method="tki")


def pictures(count=5):
    rng = np.random.default_rng(0)
    return [draw("cross", "sketch" if seed % 2 else "photo", rng) for seed in range(count)]


def run_onnx(folder, pixels):
    session = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def run_torchscript(folder, pixels):
    with torch.no_grad():
        return torch.jit.load(str(folder / "encoder.pt"))(torch.from_numpy(pixels)).numpy()


RUNS = {"onnx": run_onnx, "torchscript": run_torchscript}


def frozen():
    return Encoder(TinyBackbone())


@pytest.mark.parametrize(
    ("make", "kind"),
    [*product([headed, with_whitened, frozen], RUNS), (hyperbolic, "torchscript")],
)
def test_the_network_gives_the_encoders_vectors_for_any_number_of_pictures(tmp_path, make, kind):
    encoder = make()
    for domain in [None, *encoder.domains]:
        folder = export_encoder(encoder, tmp_path / f"to-{domain}", kind, domain)
        for count in (1, 5):
            images = pictures(count)
            pixels = np.stack([encoder.backbone.preprocess.pixels(image) for image in images])
            expected = encoder.encode_images(images, domain)
            assert np.allclose(RUNS[kind](folder, pixels), expected, atol=1e-4)


def test_domains_differ_and_their_vectors_belong_together(tmp_path):
    encoder = headed()
    pixels = np.stack([encoder.backbone.preprocess.pixels(image) for image in pictures()])
    found = {d: run_onnx(export_encoder(encoder, tmp_path / d, "onnx", d), pixels) for d in encoder.domains}
    assert not np.allclose(found["photo"], found["sketch"], atol=1e-2)


def test_the_joint_space_of_lite_can_be_exported(tmp_path):
    lite = load_backbone("lite")
    encoder = Encoder(lite, [Joint(lite)])
    folder = export_encoder(encoder, tmp_path / "out")
    images = [image.resize((240, 240)) for image in pictures(2)]
    pixels = np.stack([encoder.backbone.preprocess.pixels(image) for image in images])
    assert np.allclose(run_onnx(folder, pixels), encoder.encode_images(images), atol=1e-3)


def test_what_lies_beside_the_network(tmp_path):
    encoder = headed()
    folder = export_encoder(encoder, tmp_path / "out", "onnx", "sketch")
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "encoder.onnx", "preprocess.json"]
    said = json.loads((folder / "preprocess.json").read_text())
    assert said["input"]["shape"] == ["N", SIDE, SIDE, 3]
    assert said["output"]["shape"] == ["N", 16]
    assert said["domain"] == "sketch"
    assert said["fingerprint"] == encoder.fingerprint.digest


def test_a_folder_export_is_the_encoder_itself(tmp_path):
    encoder = headed()
    folder = export_encoder(encoder, tmp_path / "out", "safetensors")
    again = Encoder.load(folder)
    assert np.array_equal(again.encode_images(pictures(), "photo"), encoder.encode_images(pictures(), "photo"))


@pytest.mark.parametrize(
    ("kind", "domain", "message"),
    [
        ("onnx", "clipart", "it knows photo, sketch"),
        ("safetensors", "photo", "keeps all domains"),
        ("tflite", None, "use onnx, safetensors, torchscript"),
    ],
)
def test_refusals_leave_nothing(tmp_path, kind, domain, message):
    with pytest.raises(ConfigError, match=message):
        export_encoder(headed(), tmp_path / "out", kind, domain)
    assert not (tmp_path / "out").exists()


def test_a_hyperbolic_projection_is_refused_as_onnx_and_nothing_is_left(tmp_path):
    with pytest.raises(ExportError, match="torchscript"):
        export_encoder(hyperbolic(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        export_encoder(headed(), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_rows_of_one_name_equal_rows_named_one_by_one():
    encoder = with_whitened()
    rows = torch.randn(6, 64)
    for domain in (None, "photo", "sketch"):
        assert np.allclose(
            encoder.encode_features(rows, domain), encoder.encode_features(rows, [domain] * 6), atol=1e-6
        )


def test_unit_rows_and_maps_of_each_head_alone():
    encoder = headed()
    rows = F.normalize(torch.randn(4, 16), dim=1)
    part = encoder.part(DomainMap)
    mapped = part(rows, ["photo", "sketch", None, "sketch"])
    assert torch.equal(mapped[[0, 2]], rows[[0, 2]])
    for row in (1, 3):
        halves = [F.normalize(half @ part.maps["sketch"], dim=0) / 2**0.5 for half in rows[row].split(8)]
        assert torch.allclose(mapped[row], torch.cat(halves), atol=1e-6)
