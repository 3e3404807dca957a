"""From device arrays to one plain record a round."""

import math

import numpy as np

from fedcode_jax.simulation.evaluation import Score
from fedcode_jax.simulation.faults import FaultMetrics
from fedcode_jax.simulation.personal import PersonalScore
from fedcode_jax.simulation.segment import SegmentOutput

Record = dict

FAULTS = ("vanished", "late", "rejected_corrupt", "rejected_not_finite", "restarted")
"""What records of a run with faults say of them."""


def records_of(
    output: SegmentOutput,
    *,
    first_round: int,
    cumulative_bytes: int,
    seconds: float,
    evaluated: bool = True,
) -> list[Record]:
    """The records of a segment's rounds; the evaluation belongs to the last one.

    Args:
      output: what the segment reported, on the host.
      first_round: number of its first round.
      cumulative_bytes: sent in all rounds before it, both ways.
      seconds: that the segment took.
      evaluated: whether the evaluation counts; a segment that ends for another reason has one too.

    Returns:
      One dict a round: ``round``; ``test_accuracy``, ``test_loss``, ``deployed_accuracy``,
      ``deployed_loss``, ``worst_decile_accuracy`` (None in rounds that were not evaluated; the
      last one as of ``worst_decile``, of the server's weights); ``test_<name>`` and
      ``deployed_<name>`` likewise, for each metric there is; where clients have models of their
      own, ``personal_accuracy`` and ``personal_loss``, means over the clients of each one's model
      on its client's own distribution, and ``personal_test_accuracy`` and ``personal_test_loss``,
      of the same models on the whole test set; ``train_loss`` (None if nobody took
      part); ``uplink_bytes`` and ``downlink_bytes`` of all clients together, as encoded;
      ``cumulative_bytes``; ``uplink_formula_bits`` and ``downlink_formula_bits``; ``fedavg_bytes``
      and ``fedavg_formula_bits``, what FedAvg would have sent over the same network; ``exchange``;
      ``clients`` that received what they were sent, ``arrived`` of their uploads, and
      ``uploaded_weights`` among these; in a run with faults the uploads that each befell
      (``vanished``, ``late``, ``rejected_corrupt``, ``rejected_not_finite``), and ``restarted``, 1
      if the server did; ``simulated_seconds``, which are ``computing_seconds``,
      ``sending_seconds`` and ``waiting_seconds`` of the mean client; ``wall_seconds``;
      ``padding_waste``, executed over needed client-steps, minus one.
    """
    metrics, score, deployed = output.metrics, output.score, output.deployed
    timing, num_rounds = metrics.timing, len(metrics.train_loss)
    worst = worst_decile(np.asarray(score.clients))
    records = []
    for i in range(num_rounds):
        up = metrics.uplink_bits[i].astype(np.int64) // 8
        down = metrics.downlink_bits[i].astype(np.int64) // 8
        cumulative_bytes += int(up.sum() + down.sum())
        scored = evaluated and i == num_rounds - 1
        records.append(
            {
                "round": first_round + i,
                "test_accuracy": float(score.accuracy) if scored else None,
                "test_loss": float(score.loss) if scored else None,
                "deployed_accuracy": float(deployed.accuracy) if scored else None,
                "deployed_loss": float(deployed.loss) if scored else None,
                "worst_decile_accuracy": worst if scored else None,
                **_further(score, deployed, scored),
                **_personal(output.personal, scored),
                "train_loss": float(metrics.train_loss[i]) if metrics.received[i].any() else None,
                "uplink_bytes": int(up.sum()),
                "downlink_bytes": int(down.sum()),
                "cumulative_bytes": cumulative_bytes,
                "uplink_formula_bits": int(metrics.uplink_formula_bits[i].sum(dtype=np.int64)),
                "downlink_formula_bits": int(metrics.downlink_formula_bits[i].sum(dtype=np.int64)),
                "fedavg_bytes": int(metrics.fedavg_bits[i].sum(dtype=np.int64)) // 8,
                "fedavg_formula_bits": int(metrics.fedavg_formula_bits[i].sum(dtype=np.int64)),
                "exchange": {
                    name: bool(flag[i]) for name, flag in metrics.exchange._asdict().items()
                },
                "clients": int(metrics.received[i].sum()),
                "arrived": int(metrics.arrived[i].sum()),
                "uploaded_weights": int(metrics.uploaded_weights[i]),
                **_of_faults(metrics.faults, i),
                "simulated_seconds": float(timing.seconds[i]),
                "computing_seconds": float(timing.computing[i]),
                "sending_seconds": float(timing.sending[i]),
                "waiting_seconds": float(timing.waiting[i]),
                "wall_seconds": seconds / num_rounds,
                "padding_waste": float(metrics.executed_steps[i] / metrics.needed_steps[i] - 1)
                if metrics.needed_steps[i]
                else 0.0,
            }
        )
    return records


def _of_faults(faults: FaultMetrics | None, i: int) -> Record:
    """How many uploads each fault befell in the i-th round, and whether the server restarted."""
    if faults is None:
        return {}
    found = (
        *(faults.vanished, faults.late, faults.corrupt, faults.not_finite),
        faults.restarted,
    )
    return {name: int(each[i].sum()) for name, each in zip(FAULTS, found, strict=True)}


def _further(score: Score, deployed: Score, evaluated: bool) -> Record:
    """The means of metrics, of the server's weights and as deployed."""
    both = {"test": score.metrics, "deployed": deployed.metrics}
    return {
        f"{model}_{name}": float(mean) if evaluated else None
        for model, metrics in both.items()
        for name, mean in metrics.items()
    }


def _personal(personal: PersonalScore | None, evaluated: bool) -> Record:
    """Means over the clients; those of whose classes none is tested have no own distribution."""
    if personal is None:
        return {}
    accuracy, loss, shared_accuracy, shared_loss = map(np.asarray, personal)
    known = np.isfinite(accuracy)
    means = {
        "accuracy": accuracy[known],
        "loss": loss[known],
        "test_accuracy": shared_accuracy,
        "test_loss": shared_loss,
    }
    return {
        f"personal_{name}": float(each.mean(dtype=np.float64)) if evaluated and each.size else None
        for name, each in means.items()
    }


def has_diverged(record: Record) -> bool:
    """Whether a loss of a round, in training or on the test set, is not finite."""
    losses = (record[name] for name in ("train_loss", "test_loss", "deployed_loss"))
    return any(loss is not None and not math.isfinite(loss) for loss in losses)


def worst_decile(accuracies: np.ndarray) -> float | None:
    """Mean accuracy of the worst tenth of the clients, at least one of them.

    Args:
      accuracies: one a client; those that are not finite do not count.

    Returns:
      The mean, or None if there are none.

    Example:
      >>> f"{worst_decile(np.linspace(0.81, 1.0, 20)):.3f}"
      '0.815'
    """
    finite = np.sort(accuracies[np.isfinite(accuracies)].astype(np.float64))
    worst = finite[: max(1, round(len(finite) / 10))]
    return float(worst.mean()) if len(worst) else None
