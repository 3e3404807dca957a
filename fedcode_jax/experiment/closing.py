"""What a run comes to, from its outcome: the summary, and accuracy by class and client."""

from typing import Any

import numpy as np

from fedcode_jax import results
from fedcode_jax.experiment.accounting import spent
from fedcode_jax.experiment.building import Experiment
from fedcode_jax.experiment.clients_table import test_users
from fedcode_jax.simulation import Outcome
from fedcode_jax.simulation.records import FAULTS, worst_decile


def summary_of(
    experiment: Experiment, outcome: Outcome, *, compile_seconds: float | None = None
) -> dict[str, Any]:
    """The closing figures of a run, as ``summary.json`` holds them.

    Args:
      experiment: what ran.
      outcome: how it ended.
      compile_seconds: spent compiling, where not the experiment's own program ran.

    Returns:
      The figures of ``results.summarise``, the distribution over the clients of the accuracy of
      the server's weights and, where clients have models of their own, of these, each on its
      client's own distribution (``personal_accuracy``), the mean padding waste, the uploads that
      arrived, in a run with faults how often each befell it (``faults``), the compilations, the
      plan, the network and the checksums of data, partition and, where there is one, of ``init``;
      and ``privacy``, as of ``accounting.spent``, if there is any.
    """
    program, records, last = experiment.program, outcome.records, outcome.evaluation
    summary = results.summarise(
        records,
        period=experiment.period,
        status=outcome.status,
        fedavg_bytes=sum(record["fedavg_bytes"] for record in records),
        fedavg_formula_bits=sum(record["fedavg_formula_bits"] for record in records),
        compile_seconds=program.compiled.seconds if compile_seconds is None else compile_seconds,
    )
    sizes = (program.cohort, experiment.partition.num_clients)
    privacy = spent(experiment.config, records, *sizes)
    wastes = [record["padding_waste"] for record in records]
    return {
        **summary,
        "client_accuracy": None if last is None else _spread(np.asarray(last.server.clients)),
        **(
            {}
            if last is None or last.personal is None
            else {"personal_accuracy": _spread(np.asarray(last.personal.accuracy))}
        ),
        "padding_waste": sum(wastes) / len(wastes) if wastes else None,
        "arrived_uploads": sum(record["arrived"] for record in records),
        **_faults(experiment, records),
        "compilations": len(program.compiled.segments),
        "plan": str(program.plan),
        "partition_checksum": experiment.partition.checksum,
        "data_checksum": experiment.dataset.checksum,
        **({} if experiment.init_checksum is None else {"init_checksum": experiment.init_checksum}),
        "network": str(experiment.network),
        "num_clients": experiment.partition.num_clients,
        **({} if privacy is None else {"privacy": privacy}),
    }


def evaluation_of(experiment: Experiment, outcome: Outcome) -> dict[str, Any] | None:
    """Accuracy by class and by client at the last evaluation, as ``evaluation.json`` holds it.

    Args:
      experiment: what ran.
      outcome: how it ended.

    Returns:
      ``class_accuracy`` by model (``server``, ``deployed``) and name of the class, ``clients``,
      which says what a client's accuracy is, and ``client_accuracy`` by model, a list; where
      it is that of users, ``users``, their numbers in the data set, in the same order; where
      clients have models of their own, ``personal_accuracy``, a list of each one's accuracy on its
      client's own distribution (``own``) and on the whole test set (``shared``); None if nothing
      was evaluated.
    """
    if outcome.evaluation is None:
        return None
    server, deployed, own = outcome.evaluation
    by_model = {"server": server, "deployed": deployed}
    personal = {} if own is None else {"own": own.accuracy, "shared": own.shared_accuracy}
    names = experiment.dataset.class_names
    users = test_users(experiment)
    return {
        "class_accuracy": {
            model: dict(zip(names, score.classes.tolist(), strict=True))
            for model, score in by_model.items()
        },
        "clients": "users of the test set, each on its own samples"
        if users is not None
        else "clients, each on a test set with the class shares of its training samples",
        "client_accuracy": {model: score.clients.tolist() for model, score in by_model.items()},
        **({} if users is None else {"users": users.tolist()}),
        **(
            {"personal_accuracy": {name: found.tolist() for name, found in personal.items()}}
            if personal
            else {}
        ),
    }


def _faults(experiment: Experiment, records: list[dict[str, Any]]) -> dict[str, Any]:
    """How often each fault befell a run that may have any."""
    faults = experiment.program.settings.faults
    if faults is None:
        return {}
    totals = {name: sum(record[name] for record in records) for name in FAULTS}
    return {"faults": totals | {"hostile_clients": int(np.sum(faults.hostile))}}


def _spread(accuracies: np.ndarray) -> dict[str, float | None] | None:
    """Mean, worst tenth and extremes of the finite ones, or None if there are none."""
    finite = accuracies[np.isfinite(accuracies)]
    if not len(finite):
        return None
    return {
        "mean": float(finite.mean()),
        "worst_decile": worst_decile(finite),
        "lowest": float(finite.min()),
        "highest": float(finite.max()),
    }
