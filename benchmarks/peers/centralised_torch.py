"""The PyTorch twin of centralised.py: trains on the batches that it is sent.

    python benchmarks/peers/centralised_torch.py TASK.npz MOMENTUM DECAY < batches

A batch is its learning rate (float32), its size n (int32), n images (uint8, NHWC) and n labels
(int32).
"""

import json
import sys
import time

import numpy as np
import torch
import torch_models
from task import load
from torch.nn import functional


def main() -> None:
    path, momentum, decay = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    torch.set_num_threads(1)
    task = load(path)
    model = torch_models.build(task)
    optimizer = torch.optim.SGD(
        model.parameters(), 0.0, momentum=momentum, weight_decay=decay, fused=True
    )
    mean, std = task.arrays["mean"], task.arrays["std"]
    shape = task.arrays["train_x"].shape[1:]
    stream, began = sys.stdin.buffer, time.perf_counter()
    model.train()
    loss_sum, samples = 0.0, 0
    while head := stream.read(8):
        rate, size = np.frombuffer(head, np.float32)[0], np.frombuffer(head, np.int32)[1]
        images = np.frombuffer(stream.read(int(size * np.prod(shape))), np.uint8)
        labels = np.frombuffer(stream.read(int(4 * size)), np.int32)
        x = (images.reshape(size, *shape).astype(np.float32) - mean) / std
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.zero_grad(set_to_none=True)
        logits = model(torch_models.inputs(x))
        loss = functional.cross_entropy(logits, torch.from_numpy(labels.astype(np.int64)))
        loss.backward()
        optimizer.step()
        loss_sum, samples = loss_sum + loss.item() * int(size), samples + int(size)
    seconds = time.perf_counter() - began
    test = torch_models.inputs(task.normalised("test_x")), torch.from_numpy(task.labels("test_y"))
    loss, accuracy = torch_models.evaluate(model, *test)
    result = {
        "test_accuracy": accuracy,
        "test_loss": loss,
        "mean_train_loss": loss_sum / samples,
        "seconds": seconds,
        "versions": {"torch": torch.__version__},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
