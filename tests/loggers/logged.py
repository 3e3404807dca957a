"""Reads back what loggers have written, each with its own library's formats."""

import json
import struct
import time
from typing import NamedTuple


class Logged(NamedTuple):
    """A run as a log has it.

    Attributes:
      rounds: figures by name, of each time that a round was written, with its number.
      settings: texts by name.
      closing: figures and texts of the end, by name.
      status: as the library calls it; None where it has none.
      group: of the run, or None.
    """

    rounds: list
    settings: dict
    closing: dict
    status: object
    group: str | None


def tensorboard(folder, shared=None):
    """As TensorBoard reads it: what a later start purges is left out."""
    from tensorboardX.proto import event_pb2, plugin_hparams_pb2

    rounds, settings, closing, status = [], {}, {}, None
    for path in sorted((folder / "tensorboard").iterdir()):
        for data in _tf_records(path.read_bytes()):
            event = event_pb2.Event.FromString(data)
            if event.HasField("session_log") and event.session_log.status == 1:
                rounds = [each for each in rounds if each[0] < event.step]
            values = {value.tag: value for value in event.summary.value}
            numbers = {
                tag: value.simple_value
                for tag, value in values.items()
                if value.WhichOneof("value") == "simple_value"
            }
            if "round" in numbers:
                rounds.append((event.step, numbers))
            else:
                closing |= {tag.removeprefix("summary/"): each for tag, each in numbers.items()}
            for tag, value in values.items():
                content = value.metadata.plugin_data.content
                if tag == "summary/text_summary":
                    lines = value.tensor.string_val[0].decode().splitlines()[2:]
                    closing |= dict(line.strip("| ").split(" | ") for line in lines)
                elif tag.startswith("_hparams_"):
                    info = plugin_hparams_pb2.HParamsPluginData.FromString(content)
                    for name, each in info.session_start_info.hparams.items():
                        settings[name] = getattr(each, each.WhichOneof("kind"))
                    if info.HasField("session_end_info"):
                        status = info.session_end_info.status
    return Logged(rounds, settings, closing, status, None)


def _tf_records(data):
    place = 0
    while place + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, place)
        first, place = place + 12, place + 16 + size
        if place <= len(data):  # else it was cut off
            yield data[first : first + size]


def mlflow(folder, shared):
    """The one run of the name of the folder."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{shared / 'mlflow.db'}")
    experiments = {each.experiment_id: each.name for each in client.search_experiments()}
    found = client.search_runs(list(experiments))
    (run,) = [each for each in found if each.info.run_name.rpartition("/")[2] == folder.name]
    names = list(run.data.metrics)
    by_name = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    rounds = []
    for step in [each.step for each in by_name.get("round", [])]:
        at = {}
        for name, history in by_name.items():
            values = [each.value for each in history if each.step == step]
            assert len(values) <= 1 or name.startswith("summary/")
            if values and not name.startswith("summary/"):
                at[name] = values[0]
        rounds.append((step, at))
    closing = {**run.data.metrics, **run.data.tags}
    closing = _closing(closing)
    group = experiments[run.info.experiment_id]
    return Logged(rounds, run.data.params, closing, run.info.status, group)


def wandb(folder, shared=None):
    """All parts of an offline run, in the order of their beginnings."""
    rounds, settings, closing, status, group, ids = [], {}, {}, None, None, set()
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        for record in _ended(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add(record.run.run_id)
                group = record.run.run_group or None
            elif kind == "history":
                values = _items(record.history.item)
                rounds.append((values["_step"], values))
            elif kind == "config":
                settings |= _items(record.config.update)
            elif kind == "summary":
                closing |= _items(record.summary.update)
            elif kind == "exit":
                status = record.exit.exit_code
    assert len(ids) == 1
    return Logged(rounds, settings, _closing(closing), status, group)


def _ended(path):
    """The records of a part, which a process of its own writes to its end after it was told."""
    from wandb.proto.wandb_internal_pb2 import Record

    deadline = time.monotonic() + 120
    while True:
        found = [Record.FromString(data) for data in _leveldb_records(path.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _closing(values):
    begin = "summary/"
    return {n.removeprefix(begin): value for n, value in values.items() if n.startswith(begin)}


def _items(items):
    return {
        ".".join([item.key] if item.key else item.nested_key): json.loads(item.value_json)
        for item in items
    }


_BLOCK = 32768


def _leveldb_records(data):
    """Behind a head of 7 bytes, blocks of fragments: checksum u32, length u16, kind u8, data."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if _BLOCK - place % _BLOCK < 7:
            place += _BLOCK - place % _BLOCK
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4) and place <= len(data):  # whole, or the last part
            yield whole
            whole = b""


READERS = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}
