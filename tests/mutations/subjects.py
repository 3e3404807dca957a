"""The kinds of files that are read, small whole ones of each, and the law that each is held to.

Where a checksum covers a file, it is refused or gives exactly what a whole one holds; elsewhere it
is refused or read.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from trying import Subject

for _room in ("data", "simulation", "wire"):
    sys.path.append(str(Path(__file__).parents[1] / _room))

from fuzz import check, with_checksum  # noqa: E402
from messages import random_message  # noqa: E402
from prepared_sets import crc  # noqa: E402

from fedcode_jax import config as configs  # noqa: E402
from fedcode_jax import data, wire  # noqa: E402
from fedcode_jax.config.axes import load_sweep, points  # noqa: E402
from fedcode_jax.data import tfrecord  # noqa: E402
from fedcode_jax.network.table import read_table  # noqa: E402
from fedcode_jax.results import model_files  # noqa: E402
from fedcode_jax.simulation import checkpoint  # noqa: E402
from fedcode_jax.simulation.state import State  # noqa: E402


def _one_of(path: Path, originals: list[bytes], read: Callable[[], Any]) -> Subject:
    """A kind that a checksum covers: what is read is what one of the originals holds."""
    known = []
    for data_ in originals:
        path.write_bytes(data_)
        known.append(read())
    return Subject(path, originals, read, holds=lambda found: found in known)


def _state(number: int, width: int = 3) -> State:
    server = {
        "weights": jnp.arange(2 * width, dtype=jnp.float32).reshape(2, width) / number,
        "half": jnp.arange(width).astype(jnp.bfloat16),
        "codes": jnp.arange(width, dtype=jnp.uint8),
        "nothing": jnp.zeros((0, 4)),
    }
    return State(jnp.int32(number), server, {}, jnp.uint32([2**32 - 1]), None)


def _checkpoint(folder: Path, name: str) -> Subject:
    state = _state(5)
    path = checkpoint.save(folder, state, {"config": {"seed": 0}, "data": "abc"})
    other = checkpoint.save(folder / "other", _state(4), {"config": {"seed": 1}, "data": "abd"})

    def read() -> list[bytes]:
        leaves = checkpoint.read(path, state)
        return [np.asarray(leaf).tobytes() for leaf in (leaves.round, *leaves.server.values())]

    subject = _one_of(path / name, [(path / name).read_bytes()], read)
    foreign = (other / name).read_bytes()
    return Subject(subject.path, subject.originals, read, subject.holds, foreign=foreign)


def manifest(folder: Path) -> Subject:
    """``manifest.json`` of a checkpoint."""
    return _checkpoint(folder, checkpoint.MANIFEST)


def state(folder: Path) -> Subject:
    """The arrays of a checkpoint."""
    return _checkpoint(folder, "part_000.safetensors")


def _npz(folder: Path, save: Callable[..., None]) -> Subject:
    path, originals = folder / "set.npz", []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
        y, users = np.arange(9) % 3, np.array(list("abcabcabc"))
        save(path, train_x=x[:6], train_y=y[:6], test_x=x[6:], test_y=y[6:], train_user=users[:6])
        originals.append(path.read_bytes())
    return _one_of(path, originals, lambda: data.load("npz", path=path).checksum)


def npz(folder: Path) -> Subject:
    """A data set as ``numpy.savez`` writes it."""
    return _npz(folder, np.savez)


def npz_compressed(folder: Path) -> Subject:
    """A data set as ``numpy.savez_compressed`` writes it."""
    return _npz(folder, np.savez_compressed)


def tfrecords(folder: Path) -> Subject:
    """A TFRecord file. Each record has checksums; how many there are, a set's own page says."""
    path, originals, known = folder / "set.tfrecord", [], set()
    for seed in range(2):
        rng, text = random.Random(seed), b""
        for _ in range(6):
            record = rng.randbytes(rng.randrange(80))
            length = len(record).to_bytes(8, "little")
            text += length + crc(length) + record + crc(record)
            known.add(record)
        originals.append(text)
    return Subject(
        path, originals, lambda: list(tfrecord.records(path)), holds=lambda all_: known >= {*all_}
    )


def _message_bytes(seed: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [wire.encode(random_message(rng, most_codes=60)) for _ in range(20)]


def message(folder: Path) -> Subject:
    """The bytes of a message."""
    path = folder / "message"

    def read() -> bytes:
        return wire.encode(wire.decode(path.read_bytes()))

    subject = _one_of(path, _message_bytes(0), read)
    return Subject(path, subject.originals, read, subject.holds, refused=(wire.DecodeError,))


def message_forged(folder: Path) -> Subject:
    """The bytes of a message, with a valid checksum again: a message, or none."""
    path = folder / "message"

    def holds(found: wire.Message) -> bool:
        check(found, None)
        return True

    return Subject(
        path,
        _message_bytes(1),
        lambda: wire.decode(path.read_bytes()),
        holds,
        refused=(wire.DecodeError,),
        finish=lambda rng, data_: with_checksum(data_) if rng.random() < 0.9 else data_,
    )


def _variables(seed: int) -> model_files.Variables:
    rng = np.random.default_rng(seed)
    shapes = {"params/head/bias": (3,), "params/head/kernel": (5, 3), "params/scale": ()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _model(path: Path) -> Callable[[], str]:
    return lambda: model_files.checksum(model_files.read_model(path).variables)


def safetensors(folder: Path) -> Subject:
    """An exported model as safetensors."""
    originals = []
    for seed in range(2):
        variables = _variables(seed)
        about = {
            "fedcode_jax": "1",
            "input_shape": [5],
            "checksum": model_files.checksum(variables),
        }
        originals.append(model_files.as_safetensors(variables, about))
    path = folder / "model.safetensors"
    return _one_of(path, originals, _model(path))


def _exported(folder: Path, mutated: str) -> Subject:
    import json

    files: dict[str, list[bytes]] = {"model.fedcode": [], "model.json": []}
    for seed in range(2):
        variables = _variables(seed)
        values = np.concatenate([each.ravel() for each in variables.values()])
        sections = (wire.Dense(values),)
        about = {"round": 3 + seed, "checksum": model_files.checksum(variables)}
        layout = [{name: list(each.shape) for name, each in variables.items()}]
        files["model.fedcode"].append(wire.encode(wire.Message(np.int32(2), sections)))
        files["model.json"].append(json.dumps({**about, "sections": layout}, indent=1).encode())
    for name, both in files.items():
        (folder / name).write_bytes(both[0])
    read = _model(folder / "model.fedcode")
    subject = _one_of(folder / mutated, files[mutated][:1], read)
    return Subject(subject.path, subject.originals, read, subject.holds, foreign=files[mutated][1])


def exported_message(folder: Path) -> Subject:
    """An exported model as a message."""
    return _exported(folder, "model.fedcode")


def exported_page(folder: Path) -> Subject:
    """The page beside an exported message, which says what lies in it."""
    return _exported(folder, "model.json")


_CONFIG = """\
# a comment
seed: 3
rounds: 8
data: {name: synthetic, shape: [6, 6, 1], train_size: 100}
partition:
  name: dirichlet
  num_clients: 6
  alpha: 1e-1
model: {name: mlp, hidden: [16, 8]}
local:
  optimizer: sgd
  optimizer_args: {momentum: 0.9, nesterov: true}
  learning_rate: 0.05
algorithm:
  name: fedavg
  up: {name: topk, fraction: 0.1}
schedule: {name: periodic, start: 2}
network: {name: mobile, deadline: 30}
metrics: [top5]
"""
_SWEEP = """
axes:
  seed: [0, 1, 2]
  local.learning_rate: 1e-4..1e-2
  partition.name,partition.alpha: [[dirichlet, 0.1], [dirichlet, 0.5]]
samples: 4
"""


def yaml(folder: Path) -> Subject:
    """A config; what is read can be written and is read again as the same."""
    path = folder / "config.yaml"
    every = configs.to_yaml(configs.ExperimentConfig())
    return Subject(
        path,
        [_CONFIG.encode(), every.encode()],
        lambda: configs.load(path),
        holds=lambda found: configs.from_yaml(configs.to_yaml(found)) == found,
    )


def sweep_yaml(folder: Path) -> Subject:
    """A config with the axes of a sweep."""
    path = folder / "sweep.yaml"

    def read() -> Any:
        config, beside = load_sweep(path)
        return points(config, beside["axes"], samples=beside.get("samples"))

    return Subject(path, [(_CONFIG + _SWEEP).encode(), _SWEEP.encode()], read)


def network_table(folder: Path) -> Subject:
    """A table of clients' links; what is read are numbers that a network can have."""
    path = folder / "links.csv"
    texts = [
        "uplink_mbit,downlink_mbit,round_trip\n10,50,0.05\n1.5,20,0.1\n2,8e1,0\n",
        "downlink_mbit,uplink_mbit,samples_per_second\n" + "5,1,100\n" * 9,
    ]

    def holds(found: dict[str, np.ndarray]) -> bool:
        return all(np.isfinite(each).all() and (each >= 0).all() for each in found.values())

    return Subject(path, [text.encode() for text in texts], lambda: read_table(path), holds)
