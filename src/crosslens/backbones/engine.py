"""Engines that run a backbone's image tower: ONNX Runtime on a CPU, PyTorch on a GPU."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from crosslens.backbones.base import Backbone
from crosslens.backbones.devices import require_device
from crosslens.backbones.graphs import Engine, OnnxEngine, open_graph, run_graph
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError
from crosslens.support.files import atomic_path
from crosslens.support.places import cache_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class PixelTower(nn.Module):
    """An image tower with normalisation in front: ``(N, H, W, 3)`` uint8 to ``(N, D)`` float32."""

    mean: Tensor
    scale: Tensor

    def __init__(self, tower: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("mean", 255 * torch.tensor(preprocess.mean).view(1, 3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(preprocess.std).view(1, 3, 1, 1)))

    def forward(self, pixels: Tensor) -> Tensor:
        """``(N, H, W, 3)`` uint8 to ``(N, D)`` float32."""
        values = pixels.permute(0, 3, 1, 2).to(self.mean.dtype)
        features: Tensor = self.tower((values - self.mean) * self.scale)
        return features.float()


class TorchEngine:
    """PyTorch on a device; bfloat16 autocast and channels-last on a GPU."""

    name = "torch"

    def __init__(self, backbone: Backbone, device: str) -> None:
        self.device = torch.device(device)
        self._on_gpu = self.device.type == "cuda"
        self.batch_size = 128 if self._on_gpu else 16
        # A copy of the modules would double the memory; the tower itself is moved.
        self._tower = PixelTower(backbone.tower, backbone.preprocess).to(self.device).eval()
        if self._on_gpu:
            self._tower = self._tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Squares ``(N, H, W, 3)`` uint8 to features ``(N, D)`` float32."""
        batch = torch.from_numpy(pixels)
        if self._on_gpu:
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._on_gpu):
            features: NDArray[np.float32] = self._tower(batch).float().cpu().numpy()
        return features


def make_engine(backbone: Backbone, device: str | None = None) -> Engine:
    """The fastest engine here: PyTorch on a GPU when there is one, else ONNX Runtime.

    Args:
        backbone: the network to run.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``torch-cpu`` (PyTorch on the CPU); None chooses.

    Raises:
        BackboneError: when the device asked for is not there.
    """
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    require_device(chosen)
    if chosen == "torch-cpu":
        return TorchEngine(backbone, "cpu")
    if chosen != "cpu":
        return TorchEngine(backbone, chosen)
    try:
        return onnx_engine(backbone)
    except ExportError as error:
        log.warning("%s; PyTorch is used instead, which is slower", error)
        return TorchEngine(backbone, "cpu")


def onnx_engine(backbone: Backbone, *, threads: int = 1) -> OnnxEngine:
    """ONNX Runtime on the backbone's exported tower; a damaged file is written anew.

    Raises:
        ExportError: when the tower cannot be exported.
    """
    file = exported_tower(backbone)
    try:
        return OnnxEngine(file, threads=threads)
    except Exception:
        # onnxruntime raises its own kinds for a damaged file; the graph can always be exported again.
        file.unlink(missing_ok=True)
        return OnnxEngine(exported_tower(backbone), threads=threads)


class ExportError(BackboneError):
    """A tower that cannot be turned into an equal ONNX graph."""


def exported_tower(backbone: Backbone) -> Path:
    """The backbone's ONNX graph, exported once and cached under its fingerprint.

    Raises:
        ExportError: when the export fails or computes other values than PyTorch.
    """
    side = backbone.preprocess.crop
    key = f"{backbone.fingerprint.weights}-{backbone.fingerprint.digest}"
    file = cache_folder() / "onnx" / f"{key}.onnx"
    if not file.is_file():
        tower = PixelTower(backbone.tower.cpu(), backbone.preprocess).eval()
        export_onnx(tower, torch.zeros(2, side, side, 3, dtype=torch.uint8), file=file)
    return file


def export_onnx(module: nn.Module, *examples: Tensor, file: Path, tolerance: float = 1e-3) -> None:
    """Write ``module`` as one ONNX file with a free batch size, and check it against PyTorch.

    Args:
        module: a network in evaluation mode.
        examples: an input ``(2, ...)`` each; only their shapes and types matter, and the largest values of
            positions (int64), which are all tried.
        file: the target; written atomically, and only when the check passes.
        tolerance: largest difference allowed, relative to the largest value of the output.

    Raises:
        ExportError: when the export fails or computes other values.
    """
    # Its own generator: whether a graph was cached must not change what a seeded training run draws next.
    rng = torch.Generator().manual_seed(0)
    last = max((int(example.max()) for example in examples if example.dtype == torch.int64), default=0)
    probes = tuple(_probe(example, max(3, last + 1), last, rng) for example in examples)
    batch = torch.export.Dim("batch", min=1, max=65536)
    with atomic_path(file) as temporary:
        try:
            with warnings.catch_warnings(), _silenced():
                warnings.simplefilter("ignore")
                program = torch.onnx.export(
                    module,
                    examples,
                    dynamo=True,
                    dynamic_shapes=tuple({0: batch} for _ in examples),
                    verbose=False,
                )
                assert program is not None
                program.save(str(temporary), include_initializers=True)
            session = open_graph(temporary)
            actual = run_graph(session, *(probe.numpy() for probe in probes))
        except Exception as error:
            # torch.onnx raises dozens of kinds; any of them means that this tower cannot be exported.
            raise ExportError(f"this network cannot be exported to ONNX: {error}") from error
        with torch.inference_mode():
            expected = module(*probes).numpy()
        error_size = float(np.abs(actual - expected).max()) / max(float(np.abs(expected).max()), 1e-12)
        if not error_size <= tolerance:
            raise ExportError(f"the ONNX graph differs from PyTorch by {error_size:.1e} of the largest value")


def _probe(example: Tensor, count: int, last: int, rng: torch.Generator) -> Tensor:
    """An input like ``example`` of another batch size, ``count``; positions from 0 to ``last``."""
    shape = (count, *example.shape[1:])
    if example.dtype == torch.int64:
        return torch.arange(count) % (last + 1)
    if example.dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
    return torch.randn(shape, generator=rng)


@contextmanager
def _silenced() -> Iterator[None]:
    """No word of the exporter, whose many loggers each have a level of their own."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
