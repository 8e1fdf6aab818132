from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from crosslens.backbones.weights import read_state
from crosslens.support.errors import BackboneError
from testing.published_models import Malicious


class Scripted(nn.Module):
    """Parts of a network in half precision, with a shared storage and values that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("columns", torch.arange(6.0).reshape(2, 3).T)
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.inner(x)) * self.scale


@pytest.mark.parametrize("wrapped", ["state_dict", "model", None])
def test_checkpoints_with_and_without_a_wrapper(tmp_path: Path, wrapped: str | None) -> None:
    state = {"a.weight": torch.rand(2, 3)}
    content = {wrapped: state, "epoch": 3, "arch": "x"} if wrapped else {**state, "epoch": 3}
    torch.save(content, tmp_path / "w.pth.tar")
    read = read_state(tmp_path / "w.pth.tar")
    assert list(read) == ["a.weight"]
    assert torch.equal(read["a.weight"], state["a.weight"])


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "w.safetensors")
    assert read_state(tmp_path / "w.safetensors")["a"].tolist() == [0, 1, 2]


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "made-by-code"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "extra": Malicious(target)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious(target), protocol=2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(BackboneError, match=r"holds more than tensors|cannot be read"):
            read_state(tmp_path / name)
    assert not target.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", None])
def test_damaged_files(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = tmp_path / name
    if content is None:
        state = {"a": torch.rand(1000)}
        save_file(state, file) if name.endswith("safetensors") else torch.save(state, file)
        content = file.read_bytes()[:-600]
    file.write_bytes(content)
    with pytest.raises(BackboneError, match=name):
        read_state(file)


def test_missing_folder_and_no_tensors(tmp_path: Path) -> None:
    for path in (tmp_path / "no.pth", tmp_path):
        with pytest.raises(BackboneError, match="is not a file"):
            read_state(path)
    for content in ([1, 2], {"epoch": 3}):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(BackboneError, match="holds no tensors"):
            read_state(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_program_is_not_run_and_the_way_out_is_told(tmp_path: Path) -> None:
    torch.jit.script(Scripted()).save(str(tmp_path / "w.pt"))
    with pytest.raises(BackboneError, match=r"TorchScript program and is not run.*save_file"):
        read_state(tmp_path / "w.pt")
