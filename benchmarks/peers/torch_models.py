"""The tasks' models in PyTorch, with the task's weights; shared by every peer that runs torch.

Modules carry the names of the flax models, so one rule carries all weights over. Images enter as
[B, C, H, W] in the channels-last memory format, which is how NHWC arrays already lie in memory.
"""

from collections.abc import Mapping

import numpy as np
import torch
from task import Task
from torch import nn
from torch.nn import functional


class CNN(nn.Module):
    """The simple CNN of pfl-research's CIFAR-10 benchmark."""

    def __init__(self, classes: int, dropout: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dense = nn.Linear(14 * 14 * 64, 128)
        self.head = nn.Linear(128, classes)
        self.rates = (0.25, 0.5) if dropout else (0.0, 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, 3, 32, 32] to logits."""
        x = functional.max_pool2d(functional.relu(self.conv2(functional.relu(self.conv1(x)))), 2)
        if self.training and self.rates[0]:
            x = functional.dropout(x, self.rates[0])
        # NHWC order, as the dense kernel expects; free when the memory is channels-last.
        x = functional.relu(self.dense(x.permute(0, 2, 3, 1).flatten(1)))
        if self.training and self.rates[1]:
            x = functional.dropout(x, self.rates[1])
        return self.head(x)


class Block(nn.Module):
    """A basic block with a shortcut without parameters (option A)."""

    def __init__(self, before: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, features, 3, stride, padding=1, bias=False)
        self.norm1 = _norm(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norm2 = _norm(features)
        self.stride, self.new = stride, features - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, C, H, W] to [B, features, H / stride, W / stride]."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.new:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.new))
        return functional.relu(y + x)


class ResNet20(nn.Module):
    """Three stages of three basic blocks on 16, 32 and 64 channels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = _norm(16)
        before = 16
        self.blocks = []
        for stage, features in enumerate((16, 32, 64)):
            for i in range(3):
                name = f"stage{stage + 1}_block{i}"
                self.add_module(name, Block(before, features, 2 if stage > 0 and i == 0 else 1))
                self.blocks.append(name)
                before = features
        self.head = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, 3, H, W] to logits."""
        x = functional.relu(self.norm(self.conv(x)))
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.head(x.mean((2, 3)))


class MLP(nn.Module):
    """One hidden layer of 64."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(features, 64)
        self.head = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, features] to logits."""
        return self.head(functional.relu(self.dense1(x)))


def _norm(features: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(features, eps=1e-5, momentum=0.1)
    # A count of batches that nothing here reads, and that is no weight to average.
    layer.register_buffer("num_batches_tracked", None)
    return layer


def build(task: Task) -> nn.Module:
    """The task's model with its first weights."""
    meta = task.meta
    if meta["model"] == "cnn_pfl":
        model: nn.Module = CNN(meta["classes"], meta["dropout"])
    elif meta["model"] == "resnet20":
        model = ResNet20(meta["classes"])
    else:
        model = MLP(task.arrays["train_x"].shape[1], meta["classes"])
    set_weights(model, dict(_named(path, leaf) for path, leaf in task.weights.items()))
    return model.to(memory_format=torch.channels_last)


def set_weights(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Copies weights and running statistics into a model, all of them.

    ``load_state_dict`` would ask for the counts of batches that ``_norm`` leaves out.
    """
    own = model.state_dict()
    if own.keys() != weights.keys():
        raise ValueError(f"weights that do not fit: {sorted(own.keys() ^ weights.keys())}")
    for name, tensor in own.items():
        tensor.copy_(weights[name])


_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def _named(path: str, leaf: np.ndarray) -> tuple[str, torch.Tensor]:
    """A flax leaf as torch names and orders it."""
    _, *modules, last = path.split("/")
    if last == "kernel":
        leaf = leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T
    return ".".join([*modules, _LEAVES.get(last, last)]), torch.tensor(leaf)


def inputs(x: np.ndarray) -> torch.Tensor:
    """Normalised samples as a tensor; images as channels-last views, without a copy."""
    tensor = torch.from_numpy(x)
    return tensor.permute(0, 3, 1, 2) if x.ndim == 4 else tensor


@torch.inference_mode()
def evaluate(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over a whole test set."""
    model.eval()
    logits = torch.cat([model(part) for part in x.split(500)])
    loss = functional.cross_entropy(logits, y).item()
    return loss, (logits.argmax(1) == y).float().mean().item()
