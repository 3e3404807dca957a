"""pfl-research on a task: its simulated backend, federated averaging and PyTorch model.

    python benchmarks/peers/pfl_loop.py TASK.npz --rounds N --threads T [--check]

pfl-research does not shuffle a client's samples: it keeps the batches as it first cut them. Its
PyTorch model averages parameters; where a model has running statistics they are added to what it
averages, which takes one line.
"""

import functools
import time

import torch
import torch_models
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from task import Task, arguments, load, report
from torch.nn import functional


class Stopwatch(TrainingProcessCallback):
    """Seconds from the end of one central iteration to that of the next."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = 0.0

    def on_train_begin(self, *, model):
        """Starts the watch."""
        self.last = time.perf_counter()
        return Metrics()

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        """Takes the time of a round."""
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now
        return False, Metrics()


def make_model(task: Task) -> PyTorchModel:
    """The task's model as pfl-research wants it: with a loss and metrics."""
    module = torch_models.build(task)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        module.train()
        return functional.cross_entropy(module(x), y)

    @torch.no_grad()
    def metrics(x: torch.Tensor, y: torch.Tensor) -> dict:
        module.eval()
        return {"loss": Weighted(functional.cross_entropy(module(x), y).item() * len(y), len(y))}

    module.loss, module.metrics = loss, metrics
    averaged = [*module.parameters(), *module.buffers()]
    model = PyTorchModel(
        model=module,
        local_optimizer_create=functools.partial(torch.optim.SGD, momentum=task.meta["momentum"]),
        central_optimizer=torch.optim.SGD(averaged, 1.0),
    )
    model.variable_map.update(module.named_buffers())
    return model


def make_backend(task: Task, rounds: int) -> SimulatedBackend:
    """The clients, in the cohorts that all programs draw."""
    x, y = torch_models.inputs(task.normalised("train_x")), torch.from_numpy(task.labels("train_y"))
    clients = [
        PyTorchTensorDataset((x[own], y[own])) for own in map(torch.from_numpy, task.clients)
    ]
    order = (int(client) for cohort in task.cohorts(rounds) for client in cohort)
    data = FederatedDataset(lambda client: clients[client], lambda: next(order))
    return SimulatedBackend(
        training_data=data, val_data=None, postprocessors=[WeightByDatapoints()]
    )


def main() -> None:
    start = time.perf_counter()
    options = arguments(__doc__)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    task = load(options.task)
    rounds, meta = options.warmup + options.rounds, task.meta
    model, backend, watch = make_model(task), make_backend(task, rounds), Stopwatch()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            # Only before the first round, which is the warm-up.
            evaluation_frequency=rounds + 1,
            train_cohort_size=meta["clients_per_round"],
            val_cohort_size=0,
        ),
        backend=backend,
        model=model,
        model_train_params=NNTrainHyperParams(
            local_learning_rate=meta["learning_rate"],
            local_num_epochs=meta["epochs"],
            local_batch_size=meta["batch_size"],
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=500),
        callbacks=[watch],
    )
    setup = time.perf_counter() - start - sum(watch.seconds[options.warmup :])
    test = torch_models.inputs(task.normalised("test_x")), torch.from_numpy(task.labels("test_y"))
    loss, accuracy = torch_models.evaluate(model.pytorch_model, *test)
    report(
        "pfl",
        ("pfl", "torch", "numpy"),
        options,
        setup_seconds=setup,
        round_seconds=watch.seconds,
        test_loss=loss,
        test_accuracy=accuracy,
    )


if __name__ == "__main__":
    main()
