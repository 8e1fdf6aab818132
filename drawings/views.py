"""Views of every icon as the frozen photo network holds them, kept on disk in shards."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from crosslens.backbones.drawings.reader import LiteTower
from crosslens.backbones.lite import PhotoBackbone
from drawings.rendering import SIDE, Drawing, draw_view
from drawings.selection import Icon

_BATCH, _SHARD = 16, 2048


@dataclass(frozen=True)
class Sources:
    """Unpacked packages: ``@iconify/json``, and WordNet's ``dict``."""

    icons: Path
    wordnet: Path


def plan_views(icons: list[Icon], seed: int = 0) -> list[int]:
    """For each view the icon it shows: two to four of each, more where a name has few; every icon once first."""
    often = Counter(icon.says for icon in icons)
    views = [min(max(round(16 / often[icon.says]), 2), 4) for icon in icons]
    again = [at for at, count in enumerate(views) for _ in range(count - 1)]
    np.random.default_rng(seed).shuffle(again)
    return [*range(len(icons)), *again]


def draw(icon: Icon, sources: Sources, chance: np.random.Generator) -> Image.Image:
    """One view of an icon.

    Raises:
        ValueError: when it cannot be drawn.
    """
    return draw_view(Drawing.of(_icon_set(sources.icons, icon.set), icon.name), chance)


@cache
def _icon_set(package: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((package / "json" / f"{name}.json").read_text())
    return content


class Observer:
    """The frozen network up to what the reader reads; ONNX Runtime, on one thread."""

    def __init__(self) -> None:
        photo = PhotoBackbone()
        tower = LiteTower().eval()
        tower.photo.load_state_dict(photo.tower.state_dict())
        self.normalise = photo.preprocess.normalise
        file = io.BytesIO()
        torch.onnx.export(
            _Observing(tower), (torch.zeros(2, 3, SIDE, SIDE),), file, dynamo=False, opset_version=17,
            input_names=["images"], dynamic_axes={"images": {0: "n"}},
        )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(file.getvalue(), options)

    def __call__(self, images: list[Image.Image]) -> NDArray[np.float16]:
        """Views ``(224, 224)`` to rows ``(N, R)``."""
        pixels = self.normalise(np.stack([np.asarray(image) for image in images]))
        (seen,) = self._session.run(None, {"images": pixels})
        rows: NDArray[np.float16] = seen.astype(np.float16)
        return rows


class _Observing(nn.Module):
    def __init__(self, tower: LiteTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor) -> Tensor:
        return self.tower.observe(images)[0]


def write_views(icons: list[Icon], sources: Sources, folder: Path, *, seed: int = 0, processes: int = 2) -> int:
    """Draw and observe all views into shards; shards that are there already stay. Returns their number.

    A shard holds ``rows`` (N, R) float16 and ``icons`` (N,), places in the list of icons.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = plan_views(icons, seed)
    parts = [
        (at, plan[start : start + _SHARD])
        for at, start in enumerate(range(0, len(plan), _SHARD))
        if not (folder / f"{at:03d}.npz").is_file()
    ]
    with get_context("spawn").Pool(processes, _begin, (icons, sources, folder, seed)) as pool:
        for done, at in enumerate(pool.imap_unordered(_write_shard, parts), 1):
            print(f"views: shard {at} written, {done} of {len(parts)}", flush=True)
    return len(list(folder.glob("*.npz")))


_WORKER: dict[str, Any] = {}


def _begin(icons: list[Icon], sources: Sources, folder: Path, seed: int) -> None:
    torch.set_num_threads(1)
    _WORKER.update(icons=icons, sources=sources, folder=folder, seed=seed, observe=Observer())


def _write_shard(part: tuple[int, list[int]]) -> int:
    at, shown = part
    rows, icons = [], []
    for batch_icons, batch_rows in _observe_batches(at, shown):
        icons += batch_icons
        rows.append(batch_rows)
    temporary = _WORKER["folder"] / f"{at:03d}.partial"
    with temporary.open("wb") as file:
        np.savez(file, rows=np.concatenate(rows), icons=np.array(icons))
    temporary.rename(temporary.with_suffix(".npz"))
    return at


def _observe_batches(at: int, shown: list[int]) -> Iterator[tuple[list[int], NDArray[np.float16]]]:
    chance = np.random.default_rng((_WORKER["seed"], at))
    images: list[Image.Image] = []
    icons: list[int] = []
    for turn, icon in enumerate(shown):
        try:
            images.append(draw(_WORKER["icons"][icon], _WORKER["sources"], chance))
            icons.append(icon)
        except ValueError:
            # It cannot be drawn, or nothing is left of it.
            pass
        if images and (len(images) == _BATCH or turn == len(shown) - 1):
            yield icons, _WORKER["observe"](images)
            images, icons = [], []


def read_views(folder: Path) -> tuple[Tensor, Tensor]:
    """All shards: rows ``(N, R)`` half, and the icons they show ``(N,)``."""
    shards = [np.load(file) for file in sorted(folder.glob("*.npz"))]
    rows = torch.from_numpy(np.concatenate([shard["rows"] for shard in shards]))
    return rows, torch.from_numpy(np.concatenate([shard["icons"] for shard in shards]))
