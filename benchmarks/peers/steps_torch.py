"""Local training in PyTorch, a number of steps a line: see ``benchmarks/client_steps.py``.

python benchmarks/peers/steps_torch.py MODEL BATCH MEMORY_FORMAT
"""

import sys

import torch
import torch_mobile
import torch_models
from stepping import SHAPES, answer
from torch.nn import functional

MODELS = {
    "cnn_pfl": lambda classes: torch_models.CNN(classes, dropout=True),
    "resnet20": torch_models.ResNet20,
    "mobilenet_v2": torch_mobile.MobileNetV2,
    "yamnet": torch_mobile.YAMNet,
}


def main() -> None:
    name, batch, layout = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    (height, width, channels), classes = SHAPES[name]
    model = MODELS[name](classes).to(memory_format=memory).train()
    x = torch.randn(8 * batch, channels, height, width).contiguous(memory_format=memory)
    y = torch.randint(classes, (8 * batch,))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, fused=True)

    def steps(count: int) -> None:
        for own in torch.randperm(count * batch).fmod(len(y)).split(batch):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(x[own]), y[own]).backward()
            optimizer.step()

    answer(steps, sum(p.numel() for p in model.parameters()))


if __name__ == "__main__":
    main()
