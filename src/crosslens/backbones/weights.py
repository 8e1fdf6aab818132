"""Reading weight files without ever unpickling code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosslens.support.errors import BackboneError


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a published PyTorch checkpoint.

    A checkpoint may wrap its tensors in ``state_dict`` or ``model``. Nothing but tensors and plain containers is
    unpickled (``weights_only=True``). A TorchScript archive, which is how OpenAI publishes CLIP, is a program and
    is refused with the way to convert it.

    Returns:
        Names to tensors, with the types they have in the file.

    Raises:
        BackboneError: when the file is missing, damaged, holds code, or holds no tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise BackboneError(f"{file} is not a file; give the path of a weights file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        if _is_torchscript(file):
            raise BackboneError(
                f"{file} is a TorchScript program and is not run, for safety. Where you trust it, convert it once:"
                ' state = torch.jit.load("IN").state_dict();'
                ' safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, "OUT.safetensors")'
            )
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"{file} holds more than tensors and is not opened, for safety; convert it to .safetensors ({error})"
        ) from error
    except BackboneError:
        raise
    except Exception as error:
        # torch and safetensors raise many kinds on a damaged file; all mean the same to the reader.
        raise BackboneError(f"{file} cannot be read as weights: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    items = content.items() if isinstance(content, dict) else ()
    state = {name: value for name, value in items if isinstance(name, str) and isinstance(value, Tensor)}
    if not state:
        raise BackboneError(f"{file} holds no tensors")
    return state


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
