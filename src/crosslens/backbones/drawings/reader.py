"""A reader of drawings on a network that has only seen photographs, and the mixing of both.

The network is left as it is: a perceptron reads what its blocks hold on the way, coarse places and spreads, since
what a line drawing shows is told in early blocks and lost in late ones. It was taught by icons and their names
(``drawings``), without a photograph or a label of any benchmark.

How far a picture is drawn is told by its **activity**: the mean square of the last block's input, each channel in
units of the batch normalisation that stands there. On photographs that is 1 by construction, since these units are
the mean and the spread over ImageNet; empty paper and flat colour excite less.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.backbones.efficientnet import EfficientNetLite0, InvertedResidual

_TAPPED = {4: 40, 7: 80, 10: 112, 11: 192, 14: 192, 15: 320}
"""Blocks whose output is read, with its channels."""


class LiteTower(nn.Module):
    """Photographs and drawings to features that hold what the photo network sees and what is meant.

    ``(N, 3, 224, 224)`` to ``(N, 1280 + 384)``: a unit row of pooled features, and beside it ``balance`` times a
    unit row of the space shared with text.

    Args:
        hidden: widths of the reader's two hidden layers.
        words: length of a text vector.
        classes: of the photo network's classifier.
    """

    class_texts: Tensor
    text_centre: Tensor
    middle: Tensor
    width: Tensor
    least: Tensor
    most: Tensor
    temperature: Tensor
    balance: Tensor

    def __init__(self, hidden: tuple[int, int] = (512, 1024), words: int = 384, classes: int = 1000) -> None:
        super().__init__()
        self.photo = EfficientNetLite0()
        self.classifier = nn.Linear(self.photo.dim, classes)
        self.reader = DrawingReader(hidden, words)
        self.register_buffer("class_texts", torch.zeros(classes, words))
        self.register_buffer("text_centre", torch.zeros(words))
        # The reader's share lies between ``least`` and ``most``, halfway where the activity is ``middle``.
        self.register_buffer("middle", torch.tensor(0.8))
        self.register_buffer("width", torch.tensor(0.06))
        self.register_buffer("least", torch.tensor(0.4))
        self.register_buffer("most", torch.tensor(0.9))
        self.register_buffer("temperature", torch.tensor(2.0))
        self.register_buffer("balance", torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images to features."""
        seen, activity, pooled = self.observe(images)
        joint = self.mix(self.reader(seen), self.weave(pooled), self.drawn(activity))
        return torch.cat([F.normalize(pooled, dim=1), self.balance * joint], dim=1)

    def observe(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the reader reads ``(N, R)``, the activity ``(N,)`` and the pooled features ``(N, 1280)``."""
        photo = self.photo
        x = F.relu6(photo._bn0(photo._conv_stem(images)))
        seen = []
        for at, block in enumerate(photo._blocks):
            before, x = x, block(x)
            if at in _TAPPED:
                side = x.shape[3]
                # Quarters of the picture; where the side is odd they share a row.
                seen.append(F.avg_pool2d(x, (side + 1) // 2, side // 2).flatten(1))
                seen.append((x - x.mean((2, 3), keepdim=True)).square().mean((2, 3)).sqrt())
        last = cast(InvertedResidual, photo._blocks[-1])
        activity = _activity(last._expand_conv(before), last._bn0)
        pooled = F.relu6(photo._bn1(photo._conv_head(x))).mean((2, 3))
        return torch.cat([pooled, *seen], dim=1), activity, pooled

    def weave(self, pooled: Tensor) -> Tensor:
        """Pooled features to unit rows ``(N, 384)``: class texts weighted by the softmax of the logits."""
        return weave(self.classifier(pooled), self.class_texts, self.text_centre, self.temperature)

    def drawn(self, activity: Tensor) -> Tensor:
        """Share of the drawing reader ``(N, 1)``, falling with the activity."""
        share = torch.sigmoid((self.middle - activity) / self.width)
        return (self.least + (self.most - self.least) * share)[:, None]

    def mix(self, read: Tensor, woven: Tensor, drawn: Tensor) -> Tensor:
        """Unit rows ``(N, 384)`` between what the reader and the classifier say."""
        return F.normalize(drawn * read + (1 - drawn) * woven, dim=1)


def weave(logits: Tensor, texts: Tensor, centre: Tensor, temperature: Tensor | float) -> Tensor:
    """Unit rows ``(N, J)``: texts ``(C, J)`` weighted by the softmax of logits ``(N, C)``, less their centre."""
    return F.normalize(torch.softmax(logits / temperature, dim=1) @ texts - centre, dim=1)


class DrawingReader(nn.Module):
    """What the photo network's blocks hold ``(N, R)`` to unit rows ``(N, J)`` of the space shared with text."""

    mean: Tensor
    scale: Tensor

    def __init__(self, hidden: tuple[int, int], words: int) -> None:
        super().__init__()
        inputs = EfficientNetLite0.dim + 5 * sum(_TAPPED.values())
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden[0]), nn.GELU(), nn.Dropout(0.2),
            nn.Linear(hidden[0], hidden[1]), nn.GELU(), nn.Dropout(0.2),
            nn.Linear(hidden[1], words),
        )  # fmt: skip

    def forward(self, seen: Tensor) -> Tensor:
        """Unit rows."""
        rows: Tensor = self.layers((seen - self.mean) * self.scale)
        return F.normalize(rows, dim=1)


def _activity(expanded: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Mean square ``(N,)`` of ``(N, C, H, W)`` in the units of ``norm``, over channels that are not dead."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance = norm.running_var
    # A channel is dead where its variance is next to nothing beside the average.
    alive = (variance > 1e-3 * variance.mean()).to(variance)
    centred = expanded - norm.running_mean[:, None, None]
    squares = centred.square().mean((2, 3)) / variance.clamp(min=1e-12)
    return (squares * alive).sum(1) / alive.sum()
