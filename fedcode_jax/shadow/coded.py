"""FedCode and its controls in NumPy: starts, uploads and merges of codebooks and codes."""

from typing import Any

import jax
import numpy as np

from fedcode_jax.shadow.codebooks import MOST_CENTERS, WITHIN, above_optimum, excess
from fedcode_jax.shadow.findings import EPS, Findings, Pair
from fedcode_jax.shadow.round import Round
from fedcode_jax.shadow.vectors import mean, split
from fedcode_jax.wire import Coded, Kind

_NEAREST = 4 * EPS  # of the largest center, that rounding may move the middle between two


def check(findings: Findings, round: Round, config: Any) -> None:
    """Compares all but local training of a round.

    Args:
      findings: that are added to.
      round: what the program did.
      config: of the algorithm: ``rate_weight``, and ``merge`` of FedCode.
    """
    priced = config.rate_weight > 0  # then codes are not those of the nearest centers
    for place in round.places:
        _start(findings, round, place)
        _upload(findings, round, place, priced)
    _merged(findings, round, getattr(config, "merge", "union"))
    layout = round.before.store.layout
    own = split(layout, round.after.server.weights)
    sent = [vector for vector, p in zip(own, layout.policies, strict=True) if p != "local"]
    for vector, section in zip(sent, round.after.server.sections, strict=True):
        _fitted(findings, vector, section, priced, round.name)


def _decoded(section: Any) -> np.ndarray:
    return np.asarray(section.centers, np.float64)[np.asarray(section.codes)]


def _start(findings: Findings, round: Round, place: int) -> None:
    """What a client starts from."""
    traffic, where = round.traffic, round.of(place)
    kind = int(traffic.broadcast.kind[place])
    stored = jax.tree.map(lambda leaf: leaf[round.metrics.clients[place]], round.before.store)
    layout, sections = stored.layout, iter(traffic.broadcast.sections)
    starts = split(layout, round.work(place).start.weights)
    for policy, own, found in zip(layout.policies, stored.parts, starts, strict=True):
        section = None if policy == "local" else next(sections)
        if isinstance(section, Coded):
            if kind == Kind.CODEBOOK:
                centers = np.asarray(section.centers, np.float64)
                far = excess(_decoded(own), found, centers)
                findings.add("snapping at the client", far, _NEAREST, where)
            else:
                decoded = _decoded(section if kind == Kind.WEIGHTS else own)
                findings.same("starting weights", found, decoded, where)
        else:
            expected = section.values if section is not None and kind == Kind.WEIGHTS else own
            findings.same("starting weights", found, expected, where)


def _upload(findings: Findings, round: Round, place: int, priced: bool) -> None:
    """What a client makes of its trained weights, sends and keeps."""
    traffic, where = round.traffic, round.of(place)
    client = round.metrics.clients[place]
    kept = jax.tree.map(lambda leaf: leaf[client], round.after.store)
    sections = iter(jax.tree.map(lambda leaf: leaf[place], traffic.uploads.sections))
    trained = split(kept.layout, round.work(place).trained)
    for policy, own, vector in zip(kept.layout.policies, kept.parts, trained, strict=True):
        if policy == "local":
            findings.same("kept weights", own, vector, where)
            continue
        section = next(sections)
        _fitted(findings, vector, section, priced, where)
        if isinstance(section, Coded):
            findings.same("kept weights", _decoded(own), _decoded(section), where)
        else:
            findings.same("kept weights", own, vector, where)


def _fitted(findings: Findings, vector: Any, section: Any, priced: bool, where: str) -> None:
    """How a section stands for values."""
    if not isinstance(section, Coded):
        if section.dtype == "float32":
            findings.same("floats sent", section.values, vector, where)
        return
    centers = np.asarray(section.centers, np.float64)
    if priced:
        return
    findings.add("codes", excess(vector, _decoded(section), centers), _NEAREST, where)
    if len(centers) <= MOST_CENTERS and np.isfinite(vector).all():
        findings.add("codebooks", above_optimum(vector, centers), WITHIN, where)


def _merged(findings: Findings, round: Round, merge: str) -> None:
    """What the server makes of the uploads."""
    layout, uploads = round.before.store.layout, round.traffic.uploads
    befores = split(layout, round.before.server.weights)
    founds = split(layout, round.after.server.weights)
    sections = iter(uploads.sections)
    counted = round.counted(Kind.WEIGHTS)
    came = round.metrics.arrived & (uploads.kind == Kind.CODEBOOK)
    for policy, own, found in zip(layout.policies, befores, founds, strict=True):
        section = None if policy == "local" else next(sections)
        if section is not None and counted.any():
            values = section.values if not isinstance(section, Coded) else _all_decoded(section)
            findings.near("server's weights", found, mean(values, counted), own, round.name)
        elif isinstance(section, Coded) and came.any():
            centers = np.asarray(section.centers)[came]
            if merge == "rank_mean":
                pair: Pair = mean(centers, np.ones(len(centers)))
                centers = np.asarray(pair.double)
                places = np.argmin(np.abs(found[:, None] - centers), 1)
                findings.near("merged codebook", found, _by(pair, places), own * 0, round.name)
                found = centers[places]
            far = excess(own, found, np.asarray(centers, np.float64).reshape(-1))
            findings.add("snapping at the server", far, _NEAREST, round.name)
        else:
            findings.same("server's weights", found, own, round.name)


def _all_decoded(section: Any) -> np.ndarray:
    rows = zip(np.asarray(section.centers), np.asarray(section.codes), strict=True)
    return np.stack([centers[codes] for centers, codes in rows])


def _by(pair: Pair, places: np.ndarray) -> Pair:
    return Pair(pair.double[places], pair.single[places])
