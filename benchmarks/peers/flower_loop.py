"""Flower on a task: its simulation engine, its FedAvg, PyTorch inside.

    python benchmarks/peers/flower_loop.py TASK.npz --rounds N --threads T [--check]

As many actors as --threads, each on one core. Flower draws the clients of a round itself. A round
is timed from the end of one evaluation at the server to the begin of the next.
"""

import os
import time

# Read when the packages are loaded: nothing is reported to anybody.
os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import torch
import torch_models
from flower_client import client_app
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from task import Task, arguments, load, report


class Server:
    """The server's app, and what it saw."""

    def __init__(self, task: Task, rounds: int) -> None:
        self.task, self.rounds = task, rounds
        self.model = torch_models.build(task)
        self.seconds: list[float] = []
        self.score = (float("nan"), float("nan"))
        self.last = 0.0
        self.app = ServerApp()
        self.app.main()(self.main)

    def main(self, grid: Grid, context: Context) -> None:
        """FedAvg over all rounds."""
        del context
        count, total = self.task.meta["clients_per_round"], len(self.task.clients)
        strategy = FedAvg(
            fraction_train=count / total,
            fraction_evaluate=0.0,
            # The fraction is cut to a whole number, and may lose one to rounding.
            min_train_nodes=count,
            min_available_nodes=total,
        )
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(self.model.state_dict()),
            num_rounds=self.rounds,
            evaluate_fn=self.after_round,
        )

    def after_round(self, index: int, arrays: ArrayRecord) -> MetricRecord:
        """Takes the time of a round; evaluates after the last."""
        if index:
            self.seconds.append(time.perf_counter() - self.last)
        if index == self.rounds:
            task = self.task
            torch_models.set_weights(self.model, arrays.to_torch_state_dict())
            x, y = torch_models.inputs(task.normalised("test_x")), task.labels("test_y")
            self.score = torch_models.evaluate(self.model, x, torch.from_numpy(y))
        self.last = time.perf_counter()
        return MetricRecord({"round": index})


def main() -> None:
    start = time.perf_counter()
    options = arguments(__doc__)
    torch.set_num_threads(options.threads)
    task = load(options.task)
    server = Server(task, options.warmup + options.rounds)
    run_simulation(
        server_app=server.app,
        client_app=client_app(os.path.abspath(options.task)),
        num_supernodes=len(task.clients),
        backend_config={
            "init_args": {"num_cpus": options.threads},
            "client_resources": {"num_cpus": 1},
        },
    )
    if len(server.seconds) != options.warmup + options.rounds:
        raise SystemExit(f"Flower ended after {len(server.seconds)} rounds")
    report(
        "flower",
        ("flwr", "ray", "torch", "numpy"),
        options,
        # What follows the last round, ending the engine, counts as setting up as well.
        setup_seconds=time.perf_counter() - start - sum(server.seconds[options.warmup :]),
        round_seconds=server.seconds,
        test_loss=server.score[0],
        test_accuracy=server.score[1],
    )


if __name__ == "__main__":
    main()
