"""The experiments of a sweep on the workers of a Dask cluster.

A task is a piece of a sweep: experiments that are most likely one program. It gives plain values,
which come back to this process, and are written here: workers need not see the folder.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from fedcode_jax import config as configs
from fedcode_jax import results
from fedcode_jax.devices import claim_cores
from fedcode_jax.errors import ConfigError, ElsewhereError
from fedcode_jax.experiment.cache import keep_compiled_programs
from fedcode_jax.experiment.group_run import Ended, Progress, failed, run_group
from fedcode_jax.experiment.grouping import Planned, Shelf, grouped
from fedcode_jax.experiment.ledger import Ledger
from fedcode_jax.experiment.parts import Parts
from fedcode_jax.experiment.shares import pieces
from fedcode_jax.experiment.sweep_result import SweepObserver
from fedcode_jax.names import one_line

_PATIENCE = 300.0
"""Seconds to wait for the first worker."""
_RETRIES = 2
"""Of a piece that raises; one whose worker is lost goes to others besides, as Dask is set."""
_ALIKE = ("fedcode_jax", "jax", "jaxlib", "flax", "optax")
"""Versions that the workers have in common with this process: of what computes the figures."""


@contextlib.contextmanager
def connected(cluster: Any, given: Mapping[str, Any]) -> Iterator["Cluster"]:
    """Connects to a cluster, and checks that its workers can run this.

    Args:
      cluster: the address of a scheduler, or a ``distributed.Client``, which stays open.
      given: parts of one's own, as of ``Given``.

    Raises:
      ConfigError: there is no ``distributed``, no scheduler, no worker, one of another version, or
        a part that cannot be sent.
    """
    try:
        import cloudpickle
        import distributed
    except ImportError as error:
        raise ConfigError(
            f"cluster: needs Dask's distributed ({error}); install it: pip install "
            "'fedcode_jax[cluster]', or pip install distributed"
        ) from error
    sent: dict[str, bytes] = {}
    for part, value in given.items():
        try:
            sent[part] = cloudpickle.dumps(value)
        except Exception as error:  # whatever a part's own pickling raises
            raise ConfigError(
                f"{part}: cannot be sent to the workers ({one_line(error)}); give one that can be "
                "pickled, or name it as module:factory, which they import"
            ) from error
    client, own = cluster, isinstance(cluster, str)
    if own:
        try:
            client = distributed.Client(cluster, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"cluster: {cluster!r} cannot be reached ({one_line(error)}); give the address "
                "that dask scheduler prints, such as tcp://host:8786"
            ) from error
    elif not isinstance(client, distributed.Client):
        raise ConfigError(
            f"cluster: {type(cluster).__name__} is no cluster; give an address, such as "
            "tcp://host:8786, or a distributed.Client"
        )
    try:
        _check_workers(client)
        yield Cluster(client, sent)
    finally:
        if own:
            client.close()


class Cluster:
    """A cluster that runs a sweep; made by ``connected``.

    Args:
      client: of ``distributed``.
      given: parts of one's own, pickled.
    """

    def __init__(self, client: Any, given: Mapping[str, bytes]) -> None:
        self._client, self._given = client, dict(given)

    def run(self, ledger: Ledger, given: Any, observer: SweepObserver | None) -> None:
        """Runs what is left of a sweep, and writes down what came of it as it comes.

        An experiment whose piece is lost for good, with all workers that tried it, has failed. Left
        in whichever way, nothing more is begun.

        Args:
          ledger: of the sweep.
          given: as of ``connected``.
          observer: who watches, or None.
        """
        from distributed import as_completed

        del given  # sent already
        todo = pieces(ledger.left, max(1, sum(self._client.nthreads().values())))
        progress = ledger.begin(observer, len(todo))
        held = {self._submit(piece): piece for piece in todo}
        try:
            for future in as_completed(held, loop=self._client.loop):
                for one, ended, versions in _outcome(future, held[future]):
                    ledger.finish(one, ended, versions)
                progress.reached(held[future], 1.0)
                future.release()
        finally:
            self._client.cancel([future for future in held if not future.done()])

    def _submit(self, piece: Sequence[Planned]) -> Any:
        told = [(one.number, configs.to_yaml(one.config)) for one in piece]
        key = f"fedcode-{piece[0].number:04d}-{uuid.uuid4().hex}"
        work = (run_piece, told, self._given, _versions())
        return self._client.submit(*work, pure=False, retries=_RETRIES, key=key)


def _outcome(
    future: Any, piece: Sequence[Planned]
) -> Iterator[tuple[Planned, Ended, dict[str, str] | None]]:
    """What came of the experiments of a piece, and the versions that ran them."""
    if future.status in ("cancelled", "lost"):
        raise ElsewhereError(
            "cluster: the scheduler is gone, or somebody cancelled the work; what is finished is "
            "kept: start the same command again to go on"
        )
    error = future.exception()
    if error is not None:
        yield from ((one, failed(error), None) for one in piece)
        return
    found, versions = future.result()
    for one in piece:
        yield one, Ended(**found[one.number]), versions


def run_piece(
    piece: Sequence[tuple[int, str]], given: Mapping[str, bytes], versions: Mapping[str, str]
) -> tuple[dict[int, dict[str, Any]], dict[str, str]]:
    """What a worker does: runs some experiments; those that raise have failed.

    Args:
      piece: of each its number, and its config as YAML.
      given: parts of one's own, pickled.
      versions: that the worker must have.

    Returns:
      The fields of ``Ended`` of each by its number, and the versions that ran them.
    """
    import cloudpickle

    claim_cores()
    keep_compiled_programs()
    here = results.installed_versions(jax.devices()[0].device_kind)
    found: dict[int, dict[str, Any]] = {}
    try:
        _check_versions("this worker", _versions(), versions)
        parts = Parts({part: cloudpickle.loads(value) for part, value in given.items()})
        planned = [Planned(number, {}, configs.from_yaml(text)) for number, text in piece]
        shelf = Shelf(parts)
        groups, lost = grouped(planned, shelf)
    except Exception as error:
        return {number: vars(failed(error)) for number, _ in piece}, here
    found |= {one.number: vars(failed(error)) for one, error in lost}
    progress = Progress(lambda experiments: None)
    for group in groups:
        found |= {one.number: vars(ended) for one, ended in run_group(group, shelf, progress)}
    return found, here


def _versions() -> dict[str, str]:
    """What must be the same everywhere."""
    found = results.installed_versions("")
    return {name: found[name] for name in _ALIKE}


def _check_workers(client: Any) -> None:
    """Waits for a worker, and checks that all that there are have the versions of this process.

    One that comes later is checked as it is given its first piece.
    """
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError as error:
        address = client.scheduler.address
        raise ConfigError(
            f"cluster: {address} has had no worker for {_PATIENCE:.0f} s; start some: dask worker "
            f"{address} --nthreads 1"
        ) from error
    for worker, there in client.run(_versions, on_error="return").items():
        if isinstance(there, Exception):
            raise ConfigError(
                f"cluster: worker {worker} cannot run fedcode_jax ({one_line(there)}); install the "
                "same version there"
            )
        _check_versions(f"worker {worker}", there, _versions())


def _check_versions(where: str, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    unlike = [name for name in here if there.get(name) != here[name]]
    if unlike:
        each = ", ".join(f"{name} {there.get(name)} and not {here[name]}" for name in unlike)
        raise ConfigError(f"cluster: {where} has {each}; install the same versions everywhere")
