"""What Flower's actors import: a client that trains the task's PyTorch model.

One process serves many clients, so task, model and tensors are made once a process and kept.
"""

import functools

import torch
import torch_models
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from task import Task, load
from torch_loop import train


@functools.lru_cache(maxsize=1)
def resident(path: str) -> tuple[Task, torch.nn.Module, torch.Tensor, torch.Tensor, list]:
    """The task in this process: settings, model, samples and the clients' indices."""
    # One core an actor; --threads says how many actors there are.
    torch.set_num_threads(1)
    task = load(path)
    x, y = torch_models.inputs(task.normalised("train_x")), torch.from_numpy(task.labels("train_y"))
    clients = [torch.from_numpy(own).long() for own in task.clients]
    return task, torch_models.build(task), x, y, clients


def client_app(path: str) -> ClientApp:
    """Flower's client for a task.

    Args:
      path: the task's file.

    Returns:
      An app that answers a message to train.
    """
    app = ClientApp()

    @app.train()
    def train_one(message: Message, context: Context) -> Message:
        task, model, x, y, clients = resident(path)
        own = clients[int(context.node_config["partition-id"])]
        torch_models.set_weights(model, message.content["arrays"].to_torch_state_dict())
        model.train()
        train(model, x[own], y[own], task.meta)
        content = RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(own)}),
            }
        )
        return Message(content=content, reply_to=message)

    return app
