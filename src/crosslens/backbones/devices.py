"""Where networks may run, and on how many threads."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Annotated

from pydantic import AfterValidator

from crosslens.support.errors import BackboneError

_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA, of AMD, and of Windows for its Linux."""


def cpu_workers() -> int:
    """How many threads to run at once on this machine's processors."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def gpu_is_here() -> bool:
    """Whether PyTorch finds a GPU. It is asked only where there is a driver, since importing it takes seconds."""
    if not any(os.path.exists(driver) for driver in _DRIVERS) or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def require_device(device: str) -> None:
    """Check the name of a device: ``cpu``, ``torch-cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        BackboneError: for another name, or a GPU that is not there.
    """
    if device in ("cpu", "torch-cpu"):
        return
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise BackboneError(f"there is no device {device!r}; use cpu, torch-cpu, cuda or cuda:NUMBER")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise BackboneError(f"{device} is not here ({count} CUDA devices found); use --device cpu")


def _device_here(name: str) -> str:
    require_device(name)
    return name


Device = Annotated[str, AfterValidator(_device_here)]
"""The name of a device that is here. Cached features need none, but a wrong name should not pass for that."""
