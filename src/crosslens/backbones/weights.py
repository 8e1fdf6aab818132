"""Reading weight files without ever unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosslens.errors import BackboneError


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a published PyTorch checkpoint.

    A checkpoint may wrap its tensors in ``state_dict`` or ``model``. Nothing but tensors and plain containers is
    unpickled (``weights_only=True``).

    Raises:
        BackboneError: when the file is missing, damaged, holds code, or holds no tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise BackboneError(f"the weights {file} do not exist")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"{file} holds more than tensors and is not opened, for safety; convert it to .safetensors ({error})"
        ) from error
    except Exception as error:
        # torch and safetensors raise many kinds on a damaged file; all mean the same to the reader.
        raise BackboneError(f"{file} cannot be read as weights: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    state = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not state:
        raise BackboneError(f"{file} holds no tensors")
    return state
