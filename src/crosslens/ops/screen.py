"""The rows of a matrix that can be among the best of a query, from 8-bit codes: a few, and never one too few.

A float32 product with a large matrix waits for memory. Codes are a quarter of it, and processors multiply them
several times as fast. What rounding to codes may have changed of a score is bounded row by row (Cauchy-Schwarz),
so that exact scores of the few rows that are left give exactly what those of all rows would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Positions = NDArray[np.int64]

LEAST = 2**21
"""Numbers of a matrix below which a float32 product is as fast."""
_MOST = 127
_ZERO = 128
_ROUNDING = 1e-5
_STEP = 4096


class Screen:
    """Codes of rows ``(N, d)``, each an int8 vector and a factor; takes a quarter of the rows' memory.

    Args:
        matrix: ``(N, d)``, finite; read once and not kept.
    """

    def __init__(self, matrix: Array) -> None:
        count, dim = matrix.shape
        # Transposed, as the product wants it.
        codes = np.empty((dim, count), np.int8)
        self._factors, self._errors = np.empty(count, np.float32), np.empty(count, np.float32)
        self._lengths, self._shift = np.empty(count, np.float32), np.empty(count, np.int32)
        # One column may hold much larger numbers than the others, which would make all codes coarse: it stays.
        self._column = int(np.abs(matrix[:_STEP]).max(0).argmax())
        self._kept = np.array(matrix[:, self._column], np.float32)
        self._largest = float(np.abs(self._kept).max())
        for start in range(0, count, _STEP):
            rows = np.array(matrix[start : start + _STEP], np.float32)
            rows[:, self._column] = 0
            part = slice(start, start + len(rows))
            factors, coded = _encode(rows)
            codes[:, part] = coded.T
            self._factors[part] = factors
            self._errors[part] = np.linalg.norm(rows - coded * factors[:, None], axis=1)
            self._lengths[part] = np.linalg.norm(rows, axis=1)
            self._shift[part] = _ZERO * coded.sum(1, dtype=np.int32)
        self._product = _open_product(codes)

    def __len__(self) -> int:
        return len(self._factors)

    def bounds(self, queries: Array) -> Iterator[tuple[Array, Array]]:
        """Scores ``(N,)`` of each query ``(Q, d)`` about as they are, and what they can be at most ``(N,)``."""
        rest = np.array(queries, np.float32)
        rest[:, self._column] = 0
        factors, coded = _encode(rest)
        products = self._product.run(None, {"queries": (coded.astype(np.int16) + _ZERO).astype(np.uint8)})[0]
        near = coded * factors[:, None]
        lengths = np.linalg.norm(near, axis=1)
        errors = np.linalg.norm(rest - near, axis=1)
        kept = queries[:, self._column]
        for row, factor, length, error, weight in zip(products, factors, lengths, errors, kept, strict=True):
            scores = (row - self._shift).astype(np.float32)
            scores *= factor * self._factors
            if weight:
                scores += weight * self._kept
            most = scores + float(length) * self._errors
            most += float(error) * self._lengths + _ROUNDING * (float(length) + abs(float(weight)) * self._largest)
            yield scores, most


def make_screen(matrix: Array) -> Screen | None:
    """A screen of a matrix ``(N, d)``; None where it would save nothing, or this processor's product of codes is
    not exact: some without instructions for it saturate."""
    if matrix.size < LEAST or not _is_exact():
        return None
    return Screen(matrix)


def _encode(rows: Array) -> tuple[Array, NDArray[np.int8]]:
    """Factors ``(n,)`` and int8 codes ``(n, d)`` whose product is about the rows."""
    factors = np.abs(rows).max(1, initial=0) / np.float32(_MOST)
    factors = np.maximum(factors, np.finfo(np.float32).tiny).astype(np.float32)
    return factors, np.rint(rows / factors[:, None]).astype(np.int8)


def _is_exact() -> bool:
    """Whether products of the largest codes are right."""
    codes = np.full((64, 16), _MOST, np.int8)
    given = np.full((2, 64), 255, np.uint8)
    found = _open_product(codes).run(None, {"queries": given})[0]
    return bool((found == 255 * _MOST * 64).all())


def _open_product(codes: NDArray[np.int8]) -> Any:
    """A session of ONNX Runtime that multiplies ``queries`` (Q, d) uint8 with codes ``(d, N)`` to int32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    held = onnxruntime.OrtValue.ortvalue_from_numpy(codes)
    options.add_external_initializers(["codes"], [held])
    return onnxruntime.InferenceSession(_graph(*codes.shape), options, providers=["CPUExecutionProvider"])


def _graph(dim: int, count: int) -> bytes:
    """The graph of one ``MatMulInteger`` as the bytes of an ONNX file; the package that writes such files is not
    installed where indexes are only searched (field numbers: onnx.proto)."""
    node = _text(1, "queries") + _text(1, "codes") + _text(2, "products") + _text(4, "MatMulInteger")
    place = _text(1, "location") + _text(2, "codes")
    codes = _number(1, dim) + _number(1, count) + _number(2, 3) + _text(8, "codes") + _part(13, place)
    codes += _number(14, 1)
    taken, made = _tensor("queries", 2, dim), _tensor("products", 6, count)
    graph = _part(1, node) + _text(2, "products") + _part(5, codes) + _part(11, taken) + _part(12, made)
    return _number(1, 8) + _part(7, graph) + _part(8, _text(1, "") + _number(2, 13))


def _tensor(name: str, kind: int, width: int) -> bytes:
    shape = _part(1, _text(2, "Q")) + _part(1, _number(1, width))
    return _text(1, name) + _part(2, _part(1, _number(1, kind) + _part(2, shape)))


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
