"""What the processes of one run tell each other; with a single process all of it is free.

Every process runs the same program. The first one also shows the run and writes its folder. A
process that leaves alone would let the others wait for it in the next collective operation, so
whatever may fail in one process only is done ``together``.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fedcode_jax.errors import ConfigError, ElsewhereError, FedcodeError

_LENGTH = 2048  # bytes of a gathered text: arrays of all processes have one shape


def several() -> bool:
    """Whether other processes take part. Nothing of JAX begins by asking it."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that shows the run and writes its folder.

    Example:
      >>> is_first()
      True
    """
    return number() == 0


def number() -> int:
    """The number of this process, from 0.

    Example:
      >>> number()
      0
    """
    return jax.process_index() if several() else 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A block that all processes leave alike: if it fails in one, then in all.

    Inside it a process must not wait for another one.

    Raises:
      ElsewhereError: it failed in another process, of a lower number if in this one too.

    Example:
      >>> with together():
      ...     value = 3
      >>> value
      3
    """
    if not several():
        yield
        return
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
    texts = gather("" if failure is None else str(failure) or type(failure).__name__)
    failed = [number for number, text in enumerate(texts) if text]
    if failure is not None and (
        failed[0] == jax.process_index() or not isinstance(failure, FedcodeError)
    ):
        raise failure
    if failed:
        raise ElsewhereError(f"process {failed[0]}: {texts[failed[0]]}") from failure


def gather(text: str) -> list[str]:
    """The texts of all processes, each cut to 2,048 bytes.

    Example:
      >>> gather("8")
      ['8']
    """
    if not several():
        return [text]
    apart, everywhere = _between()
    row = np.zeros((1, _LENGTH), np.uint8)
    data = text.encode()[:_LENGTH]
    row[0, : len(data)] = np.frombuffer(data, np.uint8)
    rows = jax.make_array_from_process_local_data(apart, row)
    rows = jax.jit(_same, out_shardings=everywhere)(rows)
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in np.asarray(rows)]


def any_of(flag: bool) -> bool:
    """Whether any process says so.

    Example:
      >>> any_of(False)
      False
    """
    return bool(some("x" if flag else ""))


def some(text: str) -> str:
    """The first text of any process that is not empty, in all of them; else an empty one.

    Example:
      >>> some("SIGTERM")
      'SIGTERM'
    """
    return next((each for each in gather(text) if each), "")


def check_same(facts: Mapping[str, str]) -> None:
    """Checks that every process runs the same experiment.

    Args:
      facts: by name, what must not differ; only their first 2,048 bytes count.

    Raises:
      ConfigError: which fact differs, and where; ElsewhereError in processes but the first.

    Example:
      >>> check_same({"seed": "0"})
    """
    kind = ConfigError if is_first() else ElsewhereError
    for name, fact in facts.items():
        found = gather(fact)
        for number, other in enumerate(found):
            if other != found[0]:
                raise kind(
                    f"{name}: process {number} has {other}, but process 0 {found[0]}; "
                    "give all of them the same options and data"
                )


def from_first(values: Any) -> Any:
    """The values that the first process has, in all of them.

    Args:
      values: a pytree of arrays; in the other processes only their shapes and types count.

    Returns:
      The same tree with numpy arrays.

    Example:
      >>> from_first({"a": np.arange(2)})["a"].tolist()
      [0, 1]
    """
    if not several():
        return jax.tree.map(np.asarray, values)
    apart, everywhere = _between()

    def one(value: Any) -> np.ndarray:
        rows = jax.make_array_from_process_local_data(apart, np.asarray(value)[None])
        return np.asarray(jax.jit(_first_row, out_shardings=everywhere)(rows))

    return jax.tree.map(one, values)


def text_from_first(text: str) -> str:
    """A text of any length that the first process has, in all of them.

    Example:
      >>> text_from_first("loss")
      'loss'
    """
    data = np.frombuffer(text.encode(), np.uint8)
    size = int(from_first(np.int32(data.size)))
    return bytes(from_first(np.resize(data, size)) if size else b"").decode()


def whole(array: jax.Array) -> np.ndarray:
    """All of an array, also where it is cut over the devices of several processes.

    Every process must ask for it.

    Example:
      >>> whole(jax.numpy.arange(3)).tolist()
      [0, 1, 2]
    """
    if not (array.is_fully_addressable or array.is_fully_replicated):
        everywhere = NamedSharding(array.sharding.mesh, PartitionSpec())  # type: ignore[attr-defined]
        array = jax.jit(_same, out_shardings=everywhere)(array)
    return np.asarray(array)


def _between() -> tuple[NamedSharding, NamedSharding]:
    """One row a process, and all rows in each; one device of a process speaks for it."""
    speakers: dict[int, jax.Device] = {}
    for device in jax.devices():
        speakers.setdefault(device.process_index, device)
    mesh = Mesh(
        np.array([speakers[number] for number in sorted(speakers)]),
        ("processes",),
        axis_types=(AxisType.Auto,),
    )
    return NamedSharding(mesh, PartitionSpec("processes")), NamedSharding(mesh, PartitionSpec())


# Named, so that equal calls are compiled once.
def _same(array: jax.Array) -> jax.Array:
    return array


def _first_row(rows: jax.Array) -> jax.Array:
    return rows[0]
