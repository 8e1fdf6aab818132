"""Networks as ONNX files, run on a CPU without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """Runs an image tower. Safe to call from several threads at once."""

    name: str
    batch_size: int

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Squares ``(N, H, W, 3)`` uint8 to features ``(N, D)`` float32."""
        ...


def open_graph(file: Path, *, threads: int = 1, weights: Mapping[str, NDArray[Any]] | None = None) -> Any:
    """A session of ONNX Runtime over a graph; its ``run`` may be called from several threads at once.

    Args:
        file: the graph.
        threads: of each call.
        weights: initializers by name that the graph was written without.

    Raises:
        Exception: of ONNX Runtime's own kinds, for a file that is damaged.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Spinning threads would take the core from the ones that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights:
        held = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), held)
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def run_graph(session: Any, *inputs: NDArray[Any]) -> NDArray[np.float32]:
    """The first output of a graph for its inputs in order."""
    names = [one.name for one in session.get_inputs()]
    output: NDArray[np.float32] = session.run(None, dict(zip(names, inputs, strict=True)))[0]
    return output


class OnnxEngine:
    """ONNX Runtime on the CPU. Each call uses ``threads`` threads; run several calls at once to use all cores.

    Small batches keep activations in the processor's cache: on the ``lite`` tower batches of 8 are the fastest.

    Args:
        file: an image tower from pixels to features; see ``crosslens.backbones.engine.exported_tower``.
        threads: of each call.
    """

    name = "onnxruntime"
    batch_size = 8

    def __init__(self, file: Path, *, threads: int = 1) -> None:
        self._session = open_graph(file, threads=threads)
        self._input = self._session.get_inputs()[0].name

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Squares ``(N, H, W, 3)`` uint8 to features ``(N, D)`` float32."""
        features: NDArray[np.float32] = self._session.run(None, {self._input: pixels})[0]
        return features
