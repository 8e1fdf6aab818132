"""EfficientNet-Lite0, the image network of ``lite``."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

# (repeats, kernel, stride, expansion, input channels, output channels) of EfficientNet-Lite0.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's ``SAME`` padding, which puts the odd pixel at the bottom right."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', ceil(H / stride), ceil(W / stride))``."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        vertical, horizontal = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in (x.shape[2], x.shape[3])
        )
        if vertical or horizontal:
            top, left = vertical // 2, horizontal // 2
            x = F.pad(x, [left, horizontal - left, top, vertical - top])
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class InvertedResidual(nn.Module):
    """MobileNet-style block without squeeze-and-excite: expand, depthwise, project, with ReLU6."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.has_skip = stride == 1 and inputs == outputs
        if expansion != 1:
            self._expand_conv = SameConv(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._project_conv = SameConv(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.expands = expansion != 1

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H', W')``."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.has_skip else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features; names match the published checkpoint's."""

    dim = 1280

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks = []
        for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
            for index in range(repeats):
                first = index == 0
                blocks.append(
                    InvertedResidual(
                        kernel, stride if first else 1, expansion, inputs if first else outputs, outputs
                    )
                )
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(320, self.dim, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(self.dim, eps=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to pooled features ``(N, 1280)``, every value in [0, 6]."""
        x = F.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
