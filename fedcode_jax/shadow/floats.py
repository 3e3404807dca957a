"""FedAvg, its controls, and what sends changes, in NumPy: starts, means and the server's steps."""

from typing import Any

import jax
import numpy as np

from fedcode_jax.algorithms import Layout
from fedcode_jax.algorithms.ways import Ways, compressible
from fedcode_jax.compress import none
from fedcode_jax.errors import ConfigError
from fedcode_jax.shadow.findings import Findings, Pair
from fedcode_jax.shadow.round import Round
from fedcode_jax.shadow.vectors import joined, mean, split
from fedcode_jax.wire import Kind

_UPDATES = (Kind.WEIGHTS, Kind.UPDATE)
_STEPS = ("sgd", "adam", "yogi", "adagrad")


def check_step(config: Any) -> None:
    """Refuses a server's optimiser that is not written here.

    Raises:
      ConfigError: which.
    """
    name = getattr(getattr(config, "server", None), "name", "sgd")
    if name not in _STEPS:
        raise ConfigError(
            f"check: the server's optimizer {name!r} is not one that the check knows ("
            f"{', '.join(_STEPS)}); run without it"
        )


def check_weights(findings: Findings, round: Round) -> None:
    """Compares a round in which weights are sent whole, or not at all."""
    store, uploads = round.before.store, round.traffic.uploads
    (sent,), (section,) = round.traffic.broadcast.sections, uploads.sections
    for place in round.places:
        client, work = round.metrics.clients[place], round.work(place)
        stays = store.weights is not None and round.traffic.broadcast.kind[place] != Kind.WEIGHTS
        expected = store.weights[client] if stays else sent.values
        (start,) = split(store.layout, work.start.weights)
        (trained,) = split(store.layout, work.trained)
        findings.same("starting weights", start, expected, round.of(place))
        findings.same("floats sent", section.values[place], trained, round.of(place))
        if store.weights is not None:
            kept = round.after.store.weights[client]
            findings.same("kept weights", kept, trained, round.of(place))
    (before,) = split(store.layout, round.before.server.weights)
    (found,) = split(store.layout, round.after.server.weights)
    counted = round.counted(Kind.WEIGHTS)
    if counted.any():
        pair = mean(section.values, counted)
        findings.near("server's weights", found, pair, before, round.name)
    else:
        findings.same("server's weights", found, before, round.name)


def check_changes(findings: Findings, round: Round, config: Any) -> None:
    """Compares a round in which changes are sent; compressors decode by their own functions.

    Args:
      findings: that are added to.
      round: what the program did.
      config: of the algorithm, a ``fedavg`` with any parts.
    """
    up, down = config.up.build(), config.down.build()
    way = Ways(compressible(config.groups, up, down), up or none(), down)
    layout = round.before.store.layout
    sent = way.sent_in(layout)
    if down is not None:
        _common(findings, round, way, layout)
    after = round.after.server
    for place in round.places:
        starts = split(layout, round.work(place).start.weights)
        if down is None:
            expected = [np.asarray(each.values) for each in round.traffic.broadcast.sections]
        else:
            common = split(layout, after.common)
            expected = [common[g] for g in sent]
        own = iter(round.before.store.kept)
        given = dict(zip(sent, expected, strict=True))
        client = round.metrics.clients[place]
        for g, start in enumerate(starts):
            values = given[g] if g in given else next(own)[client]
            findings.same("starting weights", start, values, round.of(place))
    _moved(findings, round, way, layout, config.server)


def _decoder(compressor: Any, way: Ways, layout: Layout, g: int) -> Any:
    size = sum(layout.sizes[g])
    fitted = way.fitted(compressor, layout, g)
    return lambda section: fitted.decompress(section, size)


def _common(findings: Findings, round: Round, way: Ways, layout: Layout) -> None:
    """What all clients hold after the broadcast: as before, and the change that it says."""
    before = split(layout, round.before.server.common)
    single = split(layout, round.before.server.common, np.float32)
    found = split(layout, round.after.server.common)
    sections = round.traffic.broadcast.sections
    for g, section in zip(way.sent_in(layout), sections, strict=True):
        if g not in way.compressed_in(layout):
            findings.same("what clients hold", found[g], section.values, round.name)
            continue
        change = np.asarray(jax.jit(_decoder(way.down, way, layout, g))(section))
        pair = Pair(before[g] + change.astype(np.float64), single[g] + change)
        findings.near("what clients hold", found[g], pair, before[g], round.name)


def _moved(findings: Findings, round: Round, way: Ways, layout: Layout, server: Any) -> None:
    """Where the server goes: by its optimiser along the clients' mean change."""
    before = split(layout, round.before.server.weights)
    found = split(layout, round.after.server.weights)
    counted = round.counted(*_UPDATES)
    if not counted.any():
        findings.same("server's weights", found, before, round.name)
        return
    pairs = [Pair(own, own.astype(np.float32)) for own in before]
    for g, section in zip(way.sent_in(layout), round.traffic.uploads.sections, strict=True):
        if g in way.compressed_in(layout):
            values = jax.jit(jax.vmap(_decoder(way.up, way, layout, g)))(section)
            change = mean(np.asarray(values), counted)
            pairs[g] = Pair(before[g] + change.double, pairs[g].single + change.single)
        else:
            pairs[g] = mean(section.values, counted)
    trained = _is_trained(round.before.server.weights)

    def moved(precision: Any, vectors: list[np.ndarray]) -> list[np.ndarray]:
        starts = joined(layout, [own.astype(precision) for own in before])
        leaves = joined(layout, vectors)
        states = [np.asarray(s, precision) for s in jax.tree.leaves(round.before.server.optimizer)]
        of_params = [i for i, is_trained in enumerate(trained) if is_trained]
        for number, i in enumerate(of_params):
            own = [s.reshape(-1) for s in states[number :: len(of_params)]]
            leaves[i] = _stepped(server, starts[i], leaves[i] - starts[i], own)
        kept = {i for g, m in enumerate(layout.members) if g not in way.sent_in(layout) for i in m}
        return [starts[i] if i in kept else leaf for i, leaf in enumerate(leaves)]

    pair = Pair(
        moved(np.float64, [each.double for each in pairs]),
        moved(np.float32, [each.single for each in pairs]),
    )
    start = joined(layout, before)
    findings.near("server's weights", round.after.server.weights, pair, start, round.name)


def _is_trained(weights: Any) -> list[bool]:
    paths = jax.tree_util.tree_flatten_with_path(weights)[0]
    return [getattr(path[0], "key", None) == "params" for path, _ in paths]


def _stepped(server: Any, w: np.ndarray, d: np.ndarray, states: list[np.ndarray]) -> np.ndarray:
    """A variable after the server's step along its mean change d."""
    number = w.dtype.type
    if server.name == "sgd":
        m = d - number(server.momentum) * states[0] if server.momentum else d
        return w + number(server.learning_rate) * m  # optax keeps m with its sign turned
    m, v = states
    m = number(server.b1) * m + number(1 - server.b1) * d
    squared = d * d
    if server.name == "adam":
        v = number(server.b2) * v + number(1 - server.b2) * squared
    elif server.name == "yogi":
        v = v - number(1 - server.b2) * squared * np.sign(v - squared)
    else:
        v = v + squared
    return w + number(server.learning_rate) * m / (np.sqrt(v) + number(server.tau))
