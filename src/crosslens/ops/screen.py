"""The rows of a matrix that can be among the best of a query, from 8-bit codes: a few, and never one too few.

A float32 product with a large matrix waits for memory. Codes are a quarter of it, and processors multiply them
several times as fast. What rounding to codes may have changed of a score is bounded row by row (Cauchy-Schwarz),
so that exact scores of the few rows that are left give exactly what those of all rows would.

Of a large matrix the codes of its main directions come first, which are far fewer than its columns. What a row has
beside them adds at most the product of its length and the query's; for the rows that this leaves, the codes of all
numbers are looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Codes = NDArray[np.int8]
    Positions = NDArray[np.int64]

LEAST = 2**21
"""Numbers of a matrix below which a float32 product is as fast."""
LEAST_NARROWED = 2**25
"""Numbers of a matrix below which looking at its main directions first saves nothing."""
_MOST = 127
_ZERO = 128
_ROUNDING = 1e-5
_STEP = 4096
_GATHERED = 512
_LOOKED = 4096
"""Rows that the main directions are taken from."""
_HELD = 0.85
"""What the main directions hold of the squares of all numbers."""
_DIRECTIONS = 64
"""Their number is a multiple of this."""


class Screen(Protocol):
    """Bounds of scores."""

    def __len__(self) -> int: ...

    def bounds(self, queries: Array) -> Iterator[tuple[Array, Array]]:
        """Scores ``(N,)`` of each query ``(Q, d)`` about as they are, and what they can be at most ``(N,)``."""
        ...

    def narrow(self, query: Array, near: Positions, floor: float) -> Positions:
        """Those of some positions ``(n,)`` whose score with a query ``(d,)`` can reach a floor."""
        ...


class CodedScreen:
    """Codes of rows ``(N, d)``, each an int8 vector and a factor; takes a quarter of the rows' memory.

    Args:
        matrix: ``(N, d)``, finite; read once and not kept.
    """

    def __init__(self, matrix: Array) -> None:
        # Transposed, as the product wants it.
        codes = np.empty(matrix.shape[::-1], np.int8)

        def keep(part: slice, coded: Codes) -> None:
            codes[:, part] = coded.T

        self._coding = _Coding(matrix, keep)
        self._product = _open_product(codes)

    def __len__(self) -> int:
        return len(self._coding)

    def bounds(self, queries: Array) -> Iterator[tuple[Array, Array]]:
        """See ``Screen``."""
        asked = self._coding.encode(queries)
        coded = np.array([one.codes for one in asked], np.int16)
        products = self._product.run(None, {"queries": (coded + _ZERO).astype(np.uint8)})[0]
        for row, one in zip(products, asked, strict=True):
            yield self._coding.bounds(row, one)

    def narrow(self, query: Array, near: Positions, floor: float) -> Positions:
        """All of them: their bounds are the narrowest already."""
        return near


class NarrowedScreen:
    """Codes of rows ``(N, d)`` along m directions for all of them, and of all d numbers for those that are left.

    Args:
        matrix: ``(N, d)``, finite; read twice and not kept.
        directions: orthonormal columns ``(d, m)``.
    """

    def __init__(self, matrix: Array, directions: Array) -> None:
        self._directions = directions
        along = np.empty((len(matrix), directions.shape[1]), np.float32)
        squares = np.empty(len(matrix))
        for start in range(0, len(matrix), _STEP):
            rows = np.array(matrix[start : start + _STEP], np.float32)
            along[start : start + _STEP] = rows @ directions
            squares[start : start + _STEP] = _squares(rows)
        self._beside = _lengths_beside(squares, along)
        self._longest = float(np.sqrt(squares.max(initial=0)))
        self._screen = CodedScreen(along)
        codes = np.empty(matrix.shape, np.uint8)

        def keep(part: slice, coded: Codes) -> None:
            codes[part] = coded.astype(np.int16) + _ZERO

        self._coding = _Coding(matrix, keep)
        self._product = _open_gathered_product(codes)

    def __len__(self) -> int:
        return len(self._beside)

    def bounds(self, queries: Array) -> Iterator[tuple[Array, Array]]:
        """See ``Screen``."""
        along, squares = queries @ self._directions, _squares(queries)
        beside, rounding = _lengths_beside(squares, along), _ROUNDING * self._longest * np.sqrt(squares)
        for row, (scores, most) in enumerate(self._screen.bounds(along)):
            most += beside[row] * self._beside
            most += np.float32(rounding[row])
            yield scores, most

    def narrow(self, query: Array, near: Positions, floor: float) -> Positions:
        """See ``Screen``."""
        (asked,) = self._coding.encode(query[None])
        left = [near[:0]]
        # So few at once that what was gathered is still in the processor's cache when it is multiplied.
        for start in range(0, len(near), _GATHERED):
            rows = near[start : start + _GATHERED]
            products = self._product.run(None, {"rows": rows, "query": asked.codes[:, None]})[0][:, 0]
            left.append(rows[self._coding.bounds(products, asked, rows)[1] >= floor])
        return np.concatenate(left)


def _squares(rows: Array) -> NDArray[np.float64]:
    """Squares ``(n,)`` of the lengths of rows ``(n, d)``."""
    return np.einsum("nd,nd->n", rows, rows, dtype=np.float64)


def _lengths_beside(squares: NDArray[np.float64], along: Array) -> Array:
    """At most the lengths ``(n,)`` of what rows have beside some directions.

    Args:
        squares: of the rows' lengths ``(n,)``.
        along: the rows along these directions ``(n, m)``.
    """
    # What float32 may have rounded away, and what the directions lack of right angles.
    return np.sqrt(np.maximum(squares - _squares(along), 0) + _ROUNDING * squares).astype(np.float32)


def make_screen(matrix: Array) -> Screen | None:
    """A screen of a matrix ``(N, d)``; None where it would save nothing, or this processor's product of codes is
    not exact: some without instructions for it saturate."""
    if matrix.size < LEAST or not _is_exact():
        return None
    directions = find_directions(matrix) if matrix.size >= LEAST_NARROWED else None
    return CodedScreen(matrix) if directions is None else NarrowedScreen(matrix, directions)


def find_directions(matrix: Array) -> Array | None:
    """The main directions ``(d, m)`` of a matrix ``(N, d)``; None where they are more than half of d.

    They are the eigenvectors of the second moments of some rows with the largest eigenvalues, as many as hold most
    of their squares.
    """
    rows = np.array(matrix[:: max(1, len(matrix) // _LOOKED)], np.float64)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    held = np.cumsum(values[::-1])
    count = -(-(int(np.searchsorted(held, _HELD * held[-1])) + 1) // _DIRECTIONS) * _DIRECTIONS
    return np.ascontiguousarray(vectors[:, : -1 - count : -1], np.float32) if 2 * count <= len(values) else None


class _Asked(NamedTuple):
    """A query as codes: int8 ``(d,)`` and a factor, the length of what they stand for and of what they leave out,
    and the number that stayed."""

    codes: Codes
    factor: float
    length: float
    error: float
    kept: float


class _Coding:
    """What codes of N rows leave out of their scores.

    Args:
        matrix: ``(N, d)``.
        keep: is given the codes of some rows ``(n, d)``.
    """

    def __init__(self, matrix: Array, keep: Callable[[slice, Codes], None]) -> None:
        count = len(matrix)
        self._factors, self._errors = np.empty((2, count), np.float32)
        self._longest = 0.0
        # One column may hold much larger numbers than the others, which would make all codes coarse: it stays.
        self._column = int(np.abs(matrix[:_STEP]).max(0).argmax())
        self._kept = np.array(matrix[:, self._column], np.float32)
        self._largest = float(np.abs(self._kept).max())
        for start in range(0, count, _STEP):
            rows = np.array(matrix[start : start + _STEP], np.float32)
            rows[:, self._column] = 0
            part = slice(start, start + len(rows))
            factors, coded = _encode(rows)
            keep(part, coded)
            self._factors[part] = factors
            self._errors[part] = np.linalg.norm(rows - coded * factors[:, None], axis=1)
            self._longest = max(self._longest, float(np.linalg.norm(rows, axis=1).max()))

    def __len__(self) -> int:
        return len(self._factors)

    def encode(self, queries: Array) -> list[_Asked]:
        """Queries ``(Q, d)`` as codes."""
        rest = np.array(queries, np.float32)
        rest[:, self._column] = 0
        factors, coded = _encode(rest)
        near = coded * factors[:, None]
        lengths, errors = np.linalg.norm(near, axis=1).tolist(), np.linalg.norm(rest - near, axis=1).tolist()
        kept = queries[:, self._column].tolist()
        return [_Asked(*one) for one in zip(coded, factors.tolist(), lengths, errors, kept, strict=True)]

    def bounds(
        self, products: NDArray[np.int32], asked: _Asked, rows: Positions | slice = slice(None)
    ) -> tuple[Array, Array]:
        """Scores and what they can be at most, from the products ``(n,)`` of a query's codes and those of rows."""
        scores = products.astype(np.float32)
        scores *= np.float32(asked.factor) * self._factors[rows]
        if asked.kept:
            scores += np.float32(asked.kept) * self._kept[rows]
        most = scores + np.float32(asked.length) * self._errors[rows]
        rounding = _ROUNDING * (asked.length * self._longest + abs(asked.kept) * self._largest)
        most += np.float32(asked.error * self._longest + rounding)
        return scores, most


def _encode(rows: Array) -> tuple[Array, Codes]:
    """Factors ``(n,)`` and int8 codes ``(n, d)`` whose product is about the rows."""
    factors = np.abs(rows).max(1, initial=0) / np.float32(_MOST)
    factors = np.maximum(factors, np.finfo(np.float32).tiny).astype(np.float32)
    return factors, np.rint(rows / factors[:, None]).astype(np.int8)


def _is_exact() -> bool:
    """Whether products of the largest codes are right."""
    codes = np.full((64, 16), _MOST, np.int8)
    given = np.full((2, 64), 255, np.uint8)
    found = _open_product(codes).run(None, {"queries": given})[0]
    return bool((found == (255 - _ZERO) * _MOST * 64).all())


def _open_product(codes: Codes) -> Any:
    """A session of ONNX Runtime that multiplies ``queries`` (Q, d) uint8, codes plus 128, with codes ``(d, N)`` to
    int32 (Q, N)."""
    nodes = [_node("MatMulInteger", "queries", "codes", "zero", made="products")]
    given = {"queries": (_UINT8, ("Q", codes.shape[0]))}
    return _open(nodes, codes, _INT8, given, ("Q", codes.shape[1]))


def _open_gathered_product(codes: NDArray[np.uint8]) -> Any:
    """A session that multiplies ``rows`` (n,) int64 of codes plus 128 ``(N, d)`` with ``query`` (d, 1) int8 to
    int32 (n, 1)."""
    nodes = [
        _node("Gather", "codes", "rows", made="taken"),
        _node("MatMulInteger", "taken", "query", "zero", made="products"),
    ]
    given = {"rows": (_INT64, ("n",)), "query": (_INT8, (codes.shape[1], 1))}
    return _open(nodes, codes, _UINT8, given, ("n", 1))


_UINT8, _INT8, _INT32, _INT64 = 2, 3, 6, 7
"""Types of numbers as onnx.proto counts them."""


def _open(
    nodes: list[bytes],
    codes: NDArray[Any],
    kind: int,
    given: Mapping[str, tuple[int, tuple[str | int, ...]]],
    made: tuple[str | int, ...],
) -> Any:
    """A session of a graph over ``codes`` and ``zero``, the code of 0 plus 128.

    It is written as the bytes of an ONNX file: the package that writes such files is not installed where indexes
    are only searched (field numbers: onnx.proto).

    Args:
        nodes: of the graph.
        codes: any.
        kind: the type of a code.
        given: type and sides of each input.
        made: sides of ``products``.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    held = onnxruntime.OrtValue.ortvalue_from_numpy(codes)
    options.add_external_initializers(["codes"], [held])
    place = _text(1, "location") + _text(2, "codes")
    shape = b"".join(_number(1, side) for side in codes.shape)
    tensor = shape + _number(2, kind) + _text(8, "codes") + _part(13, place) + _number(14, 1)
    graph = b"".join(_part(1, node) for node in nodes) + _text(2, "products") + _part(5, tensor)
    graph += _part(5, _number(2, _UINT8) + _text(8, "zero") + _part(9, bytes([_ZERO])))
    graph += b"".join(_part(11, _tensor(name, *of)) for name, of in given.items())
    graph += _part(12, _tensor("products", _INT32, made))
    file = _number(1, 8) + _part(7, graph) + _part(8, _text(1, "") + _number(2, 13))
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _node(operator: str, *given: str, made: str) -> bytes:
    return b"".join(_text(1, name) for name in given) + _text(2, made) + _text(4, operator)


def _tensor(name: str, kind: int, sides: tuple[str | int, ...]) -> bytes:
    shape = b"".join(_part(1, _text(2, side) if isinstance(side, str) else _number(1, side)) for side in sides)
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
