from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.backbones.engine import (
    ExportError,
    TorchEngine,
    export_onnx,
    exported_tower,
    make_engine,
    onnx_engine,
)
from crosslens.backbones.resnet import ResNetBackbone
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError
from testing.published_models import (
    openai_clip,
    save_clip,
    save_dinov2,
    save_siglip,
    save_transformers_resnet,
    save_vit,
    tiny_resnet,
)


def squares(backbone: Backbone, count: int) -> NDArray[np.uint8]:
    side = backbone.preprocess.crop
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


class Averages(nn.Module):
    """Means of the channels times a weight: exports in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) * self.weight


class ByBatch(nn.Module):
    """A network that no graph can hold: what it does depends on the values."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) * (self.weight if images.sum().item() > 0 else 2)


def quick_backbone(tower: nn.Module | None = None) -> Backbone:
    return ResNetBackbone("moco-v2:x", tower or Averages(), 3, Preprocess(resize=8, crop=8))


def openai_file(folder: Path) -> str:
    torch.save(openai_clip(20).state_dict(), folder / "clip.pt")
    return f"openai-clip:{folder / 'clip.pt'}"


def torchvision_file(folder: Path) -> str:
    torch.save(tiny_resnet().state_dict(), folder / "resnet.pth")
    return f"torchvision-resnet50:{folder / 'resnet.pth'}"


def in_folder(kind: str, save: Callable[[Path], object]) -> Callable[[Path], str]:
    def name(folder: Path) -> str:
        save(folder)
        return f"{kind}:{folder}"

    return name


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(in_folder("clip", save_clip), id="clip"),
        pytest.param(in_folder("siglip", save_siglip), id="siglip"),
        pytest.param(in_folder("dinov2", save_dinov2), id="dinov2"),
        pytest.param(in_folder("vit", save_vit), id="vit"),
        pytest.param(in_folder("resnet", save_transformers_resnet), id="resnet"),
        pytest.param(openai_file, id="openai-clip", marks=pytest.mark.slow),
        pytest.param(torchvision_file, id="torchvision-resnet50"),
        pytest.param(lambda _: "lite", id="lite", marks=pytest.mark.slow),
    ],
)
def test_onnx_equals_torch(tmp_path: Path, make: Callable[[Path], str]) -> None:
    backbone = load_backbone(make(tmp_path))
    pixels = squares(backbone, 5)
    onnx = onnx_engine(backbone).run(pixels)
    assert (onnx.shape, onnx.dtype) == ((5, backbone.dim), np.float32)
    assert np.allclose(onnx, TorchEngine(backbone, "cpu").run(pixels), atol=1e-4 * np.abs(onnx).max())
    # And both are what embed_images gives for images normalised by Preprocess.
    direct = backbone.embed_images(torch.from_numpy(backbone.preprocess.normalise(pixels))).numpy()
    assert np.allclose(onnx, direct, atol=1e-4 * np.abs(onnx).max())


def test_any_batch_size_and_several_threads() -> None:
    backbone = quick_backbone()
    engine = make_engine(backbone, "cpu")
    assert engine.name == "onnxruntime"
    pixels = squares(backbone, 40)
    whole = engine.run(pixels)
    assert np.allclose(np.concatenate([engine.run(pixels[:1]), engine.run(pixels[1:])]), whole, atol=1e-6)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(engine.run, np.split(pixels, 8)))
    assert np.allclose(np.concatenate(parts), whole, atol=1e-6)


def test_the_graph_is_cached_by_fingerprint() -> None:
    backbone = quick_backbone()
    file = exported_tower(backbone)
    stamp = file.stat().st_mtime_ns
    assert exported_tower(quick_backbone()) == file
    assert file.stat().st_mtime_ns == stamp
    other = Averages()
    with torch.no_grad():
        other.weight *= 2
    assert exported_tower(quick_backbone(other)) != file
    backbone.preprocess = Preprocess(resize=9, crop=8)
    assert exported_tower(backbone) != file


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_a_damaged_cached_graph_is_made_anew(content: bytes | None) -> None:
    backbone = quick_backbone()
    file = exported_tower(backbone)
    file.write_bytes(file.read_bytes()[:-40] if content is None else content)
    pixels = squares(backbone, 2)
    rows = onnx_engine(backbone).run(pixels)
    assert np.allclose(rows, TorchEngine(backbone, "cpu").run(pixels), atol=1e-5)


def test_what_cannot_be_exported_runs_in_torch(caplog: pytest.LogCaptureFixture) -> None:
    backbone = quick_backbone(ByBatch())
    with pytest.raises(ExportError, match="cannot be exported"):
        exported_tower(backbone)
    with caplog.at_level(logging.WARNING):
        engine = make_engine(backbone, "cpu")
    assert engine.name == "torch"
    assert "PyTorch is used instead" in caplog.text
    assert engine.run(squares(backbone, 2)).shape == (2, 3)


def test_a_graph_with_other_values_is_never_kept(tmp_path: Path) -> None:
    target = tmp_path / "tower.onnx"
    with pytest.raises(ExportError, match="differs from PyTorch by"):
        export_onnx(Averages(), torch.zeros(2, 3, 8, 8), file=target, tolerance=-1)
    assert list(tmp_path.glob("*.onnx*")) == []


def test_exporting_leaves_the_random_state_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    export_onnx(Averages(), torch.zeros(2, 3, 8, 8), file=tmp_path / "tower.onnx")
    assert torch.equal(torch.get_rng_state(), before)


class TestDevices:
    @pytest.mark.parametrize("device", ["gpu", "cudax", "cuda:", "mps"])
    def test_unknown_ones(self, device: str) -> None:
        with pytest.raises(BackboneError, match=f"no device '{device}'; use cpu, torch-cpu, cuda"):
            make_engine(quick_backbone(), device)

    def test_cuda_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(BackboneError, match=r"cuda is not here \(0 CUDA devices found\); use --device cpu"):
            make_engine(quick_backbone(), "cuda")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        with pytest.raises(BackboneError, match="cuda:2 is not here"):
            make_engine(quick_backbone(), "cuda:2")

    def test_torch_on_the_cpu(self) -> None:
        engine = make_engine(quick_backbone(), "torch-cpu")
        assert engine.name == "torch"

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_gpu_features_are_close_to_those_of_the_cpu(self) -> None:
        backbone = load_backbone("lite")
        pixels = squares(backbone, 4)
        expected = make_engine(backbone, "cpu").run(pixels)
        actual = make_engine(backbone, "cuda").run(pixels)
        cosine = (expected * actual).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(actual, axis=1)
        assert cosine.min() > 0.995
        # The tower has moved, and embed_images follows it.
        images = torch.from_numpy(backbone.preprocess.normalise(pixels))
        assert backbone.embed_images(images).device.type == "cpu"
