"""The tensors of a TorchScript archive, which is how OpenAI published CLIP, read without running any of its code.

``torch.jit.load`` compiles the program in the archive, and ``torch.load(weights_only=True)`` refuses such files.
An archive is a zip: ``data.pkl`` describes the modules, ``data/N`` are raw values. The description is read with an
unpickler that knows a fixed handful of names, none of which can do anything but hold values.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(file: Path) -> bool:
    """Whether ``file`` is a zip with a TorchScript program in it."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """Tensors of the saved module by dotted name, as ``state_dict()`` would list them.

    Raises:
        pickle.UnpicklingError: when the archive describes anything but modules, tensors and plain values.
        ValueError, KeyError, zipfile.BadZipFile: when it is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        description = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = _Reader(archive, description).load()
    state: dict[str, Tensor] = {}
    _collect(root, "", state)
    return state


class _Module:
    """A module of the archive: nothing but the attributes it was saved with."""


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, description: str) -> None:
        super().__init__(io.BytesIO(archive.read(description)))
        self._archive = archive
        self._values = description.removesuffix("data.pkl") + "data/"

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, identity: Any) -> Tensor:
        _, dtype, key, _, count = identity
        raw = self._archive.read(f"{self._values}{key}")
        values = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        if len(values) != count:
            raise ValueError(f"the values {key} are cut short")
        return values


def _tensor(values: Tensor, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if math.prod(shape) and not 0 <= offset <= last < len(values):
        raise ValueError("a tensor reaches beyond its values")
    return values.as_strided(shape, stride, offset)


def _same(value: Any, *_: Any) -> Any:
    return value


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.jit._pickle", "build_boollist"): _same,
    ("torch.jit._pickle", "build_doublelist"): _same,
    ("torch.jit._pickle", "build_intlist"): _same,
    ("torch.jit._pickle", "build_tensorlist"): _same,
    ("torch.jit._pickle", "restore_type_tag"): _same,
}


def _collect(module: Any, prefix: str, state: dict[str, Tensor]) -> None:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            state[prefix + name] = value
        elif isinstance(value, _Module):
            _collect(value, f"{prefix}{name}.", state)
