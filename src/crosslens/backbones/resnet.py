"""ResNet-50 (He et al., 2016) in plain PyTorch, with torchvision's names, and published weights that fit it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.backbones.base import Backbone, list_names, load_weights
from crosslens.backbones.pretrained import Pretrained
from crosslens.backbones.weights import read_state
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; the stride is in the 3x3 one (torchvision's "v1.5").

    Args:
        inputs: channels that come in.
        planes: channels of the 3x3 convolution; four times as many go out.
        stride: of the 3x3 convolution and the shortcut.
    """

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 4 planes, H / stride, W / stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet(nn.Module):
    """A bottleneck ResNet without its classifier; the defaults are ResNet-50.

    Args:
        layers: blocks in each of the four stages.
        width: channels of the stem; the features have D = 32 x width.
    """

    def __init__(self, layers: tuple[int, int, int, int] = (3, 4, 6, 3), width: int = 64) -> None:
        super().__init__()
        self.dim = 32 * width
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, layers[0], stride=1)
        self.layer2 = _stage(4 * width, 2 * width, layers[1], stride=2)
        self.layer3 = _stage(8 * width, 4 * width, layers[2], stride=2)
        self.layer4 = _stage(16 * width, 8 * width, layers[3], stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to features ``(N, D)``, the mean over places, every value >= 0."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.max_pool2d(x, 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


class ResNetBackbone(Backbone):
    """A ResNet; a feature is its last map, averaged over places.

    Args:
        name: as ``load_backbone`` takes it.
        tower: ``(N, 3, H, W)`` to ``(N, D)``.
        dim: D.
        preprocess: ImageNet's evaluation recipe (256, 224, bilinear) by default.
        pretrained_head: the projection head that came with the weights.
    """

    def __init__(
        self,
        name: str,
        tower: nn.Module,
        dim: int,
        preprocess: Preprocess | None = None,
        pretrained_head: nn.Module | None = None,
    ) -> None:
        self.name = name
        self.tower = tower.eval().requires_grad_(False)
        self.dim = dim
        self.preprocess = preprocess or Preprocess()
        self.pretrained_head = pretrained_head.eval().requires_grad_(False) if pretrained_head else None


class _PooledMap(nn.Module):
    """The pooled output of transformers' ``ResNetModel``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, D)``."""
        pooled: Tensor = self.model(pixel_values=images).pooler_output
        return pooled.flatten(1)


def load_resnet(source: str) -> ResNetBackbone:
    """A ResNet in transformers' format, from a local folder or a hub id; a classifier in it is ignored.

    Raises:
        BackboneError: when it cannot be found, holds another model, or lacks weights.
    """
    from transformers import ResNetModel

    found = Pretrained("resnet", source, ("resnet",))
    model = found.load(ResNetModel)
    dim = model.config.hidden_sizes[-1]
    backbone = ResNetBackbone(f"resnet:{source}", _PooledMap(model), dim, found.preprocess(Preprocess()))
    backbone.settings = found.settings(model.config)
    return backbone


def load_torchvision_resnet(source: str) -> ResNetBackbone:
    """A checkpoint of torchvision's ResNet-50, 101 or 152; its classifier ``fc`` is ignored.

    Raises:
        BackboneError: when the file cannot be read, is of another network, or lacks weights.
    """
    _require_file("torchvision-resnet50", source)
    state = read_state(source)
    tower = _resnet_like(state, source)
    load_weights(tower, state, source, ignore=("fc.",))
    return ResNetBackbone(f"torchvision-resnet50:{source}", tower, tower.dim)


def load_moco(source: str) -> ResNetBackbone:
    """MoCo v2's query encoder; features are the pooled ones, the projection head is ``pretrained_head``.

    Raises:
        BackboneError: see ``load_moco_v2``.
    """
    _require_file("moco-v2", source)
    tower, head = load_moco_v2(source)
    return ResNetBackbone(f"moco-v2:{source}", tower, tower.dim, pretrained_head=head)


def load_moco_v2(path: str | Path) -> tuple[ResNet, nn.Sequential]:
    """The query encoder of a MoCo v2 checkpoint (facebookresearch/moco, ``moco_v2_800ep_pretrain.pth.tar``).

    The file keeps it under ``state_dict`` as ``module.encoder_q.*``; the key encoder, the queue and the optimiser
    are ignored.

    Returns:
        The ResNet ``(N, 3, H, W)`` to ``(N, 2048)`` and its head ``Linear(2048, 2048), ReLU, Linear(2048, 128)``,
        both trainable and in training mode. Widths and depths are those of the file.

    Raises:
        BackboneError: when the file cannot be read, has no such encoder, or lacks weights.
    """
    whole = {key.removeprefix("module."): value for key, value in read_state(path).items()}
    beginning = "encoder_q."
    state = {key.removeprefix(beginning): value for key, value in whole.items() if key.startswith(beginning)}
    if not state:
        raise BackboneError(
            f"{path} is no MoCo checkpoint: it has no module.encoder_q.*, but {list_names(list(whole), 4)}"
        )
    head_state = {key.removeprefix("fc."): value for key, value in state.items() if key.startswith("fc.")}
    if not {"0.weight", "2.weight"} <= head_state.keys():
        raise BackboneError(
            f"{path} has no two-layer head (fc.0, fc.2) but {list_names(sorted(head_state)) or 'none'}; MoCo v1"
            " is not read"
        )
    tower = _resnet_like(state, str(path))
    load_weights(tower, state, str(path), ignore=("fc.",))
    hidden, outputs = len(head_state["0.weight"]), len(head_state["2.weight"])
    head = nn.Sequential(nn.Linear(tower.dim, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    load_weights(head, head_state, f"the head in {path}")
    return tower, head


def _resnet_like(state: Mapping[str, Tensor], source: str) -> ResNet:
    """A ResNet, not yet loaded, of the depth and width of a state dict with torchvision's names.

    Raises:
        BackboneError: when it is the state of another network.
    """
    if "conv1.weight" not in state or "layer1.0.conv1.weight" not in state:
        raise BackboneError(f"{source} is no ResNet with torchvision's names; it has {list_names(list(state), 4)}")
    if "layer1.0.conv3.weight" not in state:
        raise BackboneError(f"{source} is a ResNet-18 or 34; only those with bottlenecks (50, 101, 152) are read")
    one, two, three, four = (
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    return ResNet((one, two, three, four), width=len(state["conv1.weight"]))


def _stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, planes, stride)
    rest = (Bottleneck(planes * Bottleneck.expansion, planes, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _require_file(kind: str, source: str) -> None:
    if not source:
        raise BackboneError(f"{kind} needs a weights file: {kind}:FILE")
