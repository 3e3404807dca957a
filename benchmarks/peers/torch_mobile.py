"""MobileNetV2 and YAMNet in PyTorch, layer by layer those of fedcode_jax."""

import torch
from torch import nn

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and first stride of each stage of MobileNetV2."""
SEPARABLE = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
"""Channels and stride of YAMNet's layers after the first."""


class Normed(nn.Sequential):
    """A convolution without bias, a batch norm, and a relu if asked."""

    def __init__(
        self,
        before: int,
        features: int,
        window: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        relu: bool = True,
    ) -> None:
        padding, groups = window // 2, before if depthwise else 1
        conv = nn.Conv2d(before, features, window, stride, padding, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(features), *[nn.ReLU(inplace=True)] * relu)


class Inverted(nn.Module):
    """Widens, filters each channel, narrows; a shortcut where the image keeps its size."""

    def __init__(self, before: int, features: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * before
        self.body = nn.Sequential(
            Normed(before, wide),
            Normed(wide, wide, 3, stride, depthwise=True),
            Normed(wide, features, relu=False),
        )
        changes = before != features
        self.shortcut = Normed(before, features, relu=False) if changes else nn.Identity()
        if stride > 1:
            self.shortcut = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, C, H, W] to [B, features, H / stride, W / stride]."""
        y = self.body(x)
        return y if self.shortcut is None else y + self.shortcut(x)


class MobileNetV2(nn.Module):
    """For images of 32 x 32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [Normed(3, 32, 3)]
        before = 32
        for expansion, features, count, stride in STAGES:
            for i in range(count):
                layers.append(Inverted(before, features, expansion, stride if i == 0 else 1))
                before = features
        self.layers = nn.Sequential(*layers, Normed(before, 1280))
        self.head = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, 3, H, W] to logits."""
        return self.head(self.layers(x).mean((2, 3)))


class YAMNet(nn.Module):
    """For patches of 96 frames of 64 bands; strided layers are padded as in PyTorch."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers = [Normed(1, 32, 3, 2)]
        before = 32
        for features, stride in SEPARABLE:
            layers.append(Normed(before, before, 3, stride, depthwise=True))
            layers.append(Normed(before, features))
            before = features
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, 1, T, F] to logits."""
        return self.head(self.layers(x).mean((2, 3)))
