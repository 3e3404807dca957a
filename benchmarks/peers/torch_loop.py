"""A plain PyTorch loop over the clients of a round, as fast as it can be kept plain.

    python benchmarks/peers/torch_loop.py TASK.npz --rounds N --threads T [--check]

One model whose weights are reset for each client, tensors normalised once and kept in memory, no
data loader, fused optimiser, a running weighted sum. On a GPU if there is one, in float32 proper.
Written for this comparison.
"""

import time

import torch
import torch_models
from task import Task, arguments, load, report
from torch.nn import functional

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, meta: dict) -> None:
    """Local training of one client, in place."""
    optimizer = torch.optim.SGD(
        model.parameters(), meta["learning_rate"], momentum=meta["momentum"], fused=True
    )
    for _ in range(meta["epochs"]):
        for batch in torch.randperm(len(y), device=DEVICE).split(meta["batch_size"]):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


class Rounds:
    """FedAvg on one model object."""

    def __init__(self, task: Task) -> None:
        self.meta = task.meta
        self.model = torch_models.build(task).to(DEVICE)
        x, y = torch_models.inputs(task.normalised("train_x")), task.labels("train_y")
        self.x, self.y = x.to(DEVICE), torch.from_numpy(y).to(DEVICE)
        self.clients = [torch.from_numpy(own).long().to(DEVICE) for own in task.clients]
        # Parameters and running statistics alike, as tensors that share the model's memory.
        self.current = list(self.model.state_dict().values())

    def round(self, cohort: list[int]) -> None:
        """One round: every client from the same weights, then the weighted mean."""
        start = [tensor.clone() for tensor in self.current]
        total = [torch.zeros_like(tensor) for tensor in self.current]
        samples = sum(len(self.clients[client]) for client in cohort)
        self.model.train()
        for client in cohort:
            own = self.clients[client]
            torch._foreach_copy_(self.current, start)
            train(self.model, self.x[own], self.y[own], self.meta)
            torch._foreach_add_(total, self.current, alpha=len(own) / samples)
        torch._foreach_copy_(self.current, total)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    start = time.perf_counter()
    options = arguments(__doc__)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    task = load(options.task)
    rounds = Rounds(task)
    seconds = []
    setup = 0.0
    for index, cohort in enumerate(task.cohorts(options.warmup + options.rounds)):
        if index == options.warmup:
            setup = time.perf_counter() - start
        began = time.perf_counter()
        rounds.round(cohort.tolist())
        seconds.append(time.perf_counter() - began)
    test = torch_models.inputs(task.normalised("test_x")), torch.from_numpy(task.labels("test_y"))
    loss, accuracy = torch_models.evaluate(rounds.model.cpu(), *test)
    report(
        "torch_loop",
        ("torch", "numpy"),
        options,
        setup_seconds=setup,
        round_seconds=seconds,
        test_loss=loss,
        test_accuracy=accuracy,
        device=DEVICE.type,
    )


if __name__ == "__main__":
    main()
