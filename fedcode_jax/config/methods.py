"""Cards of the methods: what goes each way, what is kept, the bits, and the paper."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fedcode_jax.algorithms import Layout
from fedcode_jax.algorithms.groups import parse
from fedcode_jax.config.aggregation import MEAN
from fedcode_jax.config.algorithms import AlgorithmConfig, FedAvg
from fedcode_jax.config.cards import CARDS, Shape, of_codes
from fedcode_jax.config.server_steps import AVERAGE
from fedcode_jax.errors import ConfigError

Bits = Callable[[Any, Layout], float]

_KEPT_BYTES = {"float32": 4, "bfloat16": 2, "coded": 1, "none": 0}
_FLOATS = {"dense": 32, "dense16": 16, "densebf16": 16, "local": 0}


class Method(NamedTuple):
    """What to know of a method before choosing it.

    Attributes:
      up: what a client sends.
      down: what the server sends.
      keeps: what a client keeps between rounds, beside its data.
      formula: bits of a value up, and down, as its paper has them.
      bits_up: (settings, layout) -> bits of a client's message, headers aside.
      bits_down: the same of the server's, to a client that is up to date.
      source: the paper.
      groups: how a model is laid out for ``bits_up`` and ``bits_down``, as of ``parse``.
      at_most: whether the bits are a bound, since sizes follow the values.
      unbiased: whether the mean of what is read of the uploads is the clients' mean change.
      note: where it differs from its paper, or what to look out for.
    """

    up: str
    down: str
    keeps: str
    formula: tuple[str, str]
    bits_up: Bits
    bits_down: Bits
    source: str
    groups: str = "layers"
    at_most: bool = False
    unbiased: bool = True
    note: str = ""


def method_of(algorithm: AlgorithmConfig) -> Method:
    """The card of an algorithm with its settings.

    Args:
      algorithm: one of the registry; its parts may be set otherwise than its paper has them.

    Returns:
      The card.

    Raises:
      ConfigError: an algorithm of one's own, of which nothing is known.

    Example:
      >>> from fedcode_jax.config.presets import FedPAQ
      >>> card = method_of(FedPAQ())
      >>> card.up, card.formula, card.unbiased
      ("levels of a bucket's norm, rounded at random", ('b + 32 / bucket, ...', '32'), True)
    """
    card = _card_of(algorithm)
    rule = getattr(algorithm, "aggregation", MEAN)
    if rule == MEAN:
        return card
    notes = [*([card.note] if card.note else []), f"combined by {rule.name}"]
    return card._replace(unbiased=False, note="; ".join(notes))


def _card_of(algorithm: AlgorithmConfig) -> Method:
    if isinstance(algorithm, FedAvg):
        return _composed(algorithm)
    if algorithm.name not in METHODS:
        raise ConfigError(f"algorithm.name: there is no card of {algorithm.name!r}")
    card = METHODS[algorithm.name]
    coding = getattr(algorithm, "coding", "fixed")
    groups = getattr(algorithm, "groups", card.groups)
    return card._replace(at_most=card.at_most or coding != "fixed", groups=groups)


def _composed(algorithm: FedAvg) -> Method:
    up, down = CARDS[algorithm.up.name], CARDS[algorithm.down.name]
    feedback = getattr(algorithm.up, "error_feedback", "none")
    kept = _KEPT_BYTES[feedback] + (8 if algorithm.up.name == "dgc" else 0)
    parts = [f"{kept} bytes a compressed value"] if kept else []
    parts += ["r / n of the floats of a kernel"] if algorithm.up.name == "powersgd" else []
    local = [group for group in parse(algorithm.groups) if group.policy == "local"]
    parts += [f"its own {'+'.join(group.kinds + group.names)}" for group in local]
    moved = [f"a step of {algorithm.server.name} at the server"] * (algorithm.server != AVERAGE)
    moved += ["a proximal term in the clients' losses"] * (algorithm.proximal > 0)
    moved += ["what a client's own model gains is its `personal_accuracy`"] * bool(local)
    notes = dict.fromkeys([*moved, *(card.note for card in (up, down) if card.note)])
    own = re.findall(r"arXiv (\d{4}\.\d{5})", type(algorithm).__doc__ or "")
    sources = dict.fromkeys([*own, *(card.source for card in (up, down) if card.source)])
    return Method(
        up.sends if algorithm.up.name != "none" else "float32 weights",
        down.sends if algorithm.down.name != "none" else "float32 weights",
        ", ".join(parts) or "nothing",
        (up.formula, down.formula),
        _compressed("up"),
        _compressed("down"),
        "; ".join(sources),
        algorithm.groups,
        at_most=up.at_most(algorithm.up) or down.at_most(algorithm.down),
        unbiased=up.unbiased(algorithm.up),
        note="; ".join(notes),
    )


def _groups(layout: Layout) -> list[tuple[str, Shape]]:
    """The policy of each group with its shape; that of several variables is their number."""
    found = []
    for policy, members, sizes in zip(layout.policies, layout.members, layout.sizes, strict=True):
        shape = layout.shapes[members[0]] if len(members) == 1 else (sum(sizes),)
        found.append((policy, shape))
    return found


def _each(bits: Callable[[Any, Shape], float]) -> Bits:
    """Some bits for a value of each coded group, floats for the others."""

    def of_layout(settings: Any, layout: Layout) -> float:
        return sum(
            math.prod(shape) * (bits(settings, shape) if policy == "coded" else _FLOATS[policy])
            for policy, shape in _groups(layout)
        )

    return of_layout


def _compressed(way: str) -> Bits:
    def bits(settings: Any, shape: Shape) -> float:
        compressor = getattr(settings, way)
        return CARDS[compressor.name].bits(compressor, shape)

    return _each(bits)


def _floats(times: int) -> Bits:
    return _each(lambda settings, shape: 32.0 * times)


def _blocks(settings: Any, shape: Shape) -> float:
    n = math.prod(shape)
    return math.ceil(n / settings.block) * settings.bits / n


def _with_most_centers(settings: Any, shape: Shape) -> float:
    return of_codes(dataclasses.replace(settings, num_clusters=settings.max_clusters), shape)


_MASKED = "kernel+bias=coded,norm=local,stats=dense"

_FEDCODE = Method(
    "codebooks; each f2-th round also codes",
    "codebooks; each f1-th round also codes",
    "its weights as codes",
    ("ceil(log2 K) + 32 K / n with codes, else 32 K / n",) * 2,
    *(_each(of_codes),) * 2,
    "2311.09270",
    unbiased=False,
    note="the bits are of messages with codes",
)

METHODS: dict[str, Method] = {
    "fedcode": _FEDCODE,
    "skip": _FEDCODE._replace(
        up="nothing; each f2-th round codebooks and codes",
        down="nothing; each f1-th round codebooks and codes",
        note="a control: FedCode without its codebook rounds; the bits are of messages with codes",
    ),
    "weight_clustering": _FEDCODE._replace(
        up="codebooks and codes",
        down="codebooks and codes",
        formula=("ceil(log2 K) + 32 K / n",) * 2,
        note="a control: FedCode with f1 = f2 = 1",
    ),
    "fedavg_every": Method(
        *("float32 weights, each `period` rounds",) * 2,
        "its weights",
        ("32 / period",) * 2,
        *(_floats(1),) * 2,
        "1602.05629",
        note="a control; the bits are of messages that are sent",
    ),
    "local_only": Method(
        "nothing",
        "nothing but the first weights",
        "its weights",
        ("0", "0"),
        *(lambda settings, layout: 0.0,) * 2,
        "",
        note="a control; each client learns from its own data alone",
    ),
    "scaffold": Method(
        "changes of the weights and of its control variate",
        "weights and the server's control variate",
        "its control variate, 4 bytes a value",
        ("64", "64"),
        *(_floats(2),) * 2,
        "1910.06378",
        note="needs `local.optimizer` sgd",
    ),
    "feddyn": Method(
        "changes",
        "float32 weights",
        "its gradient, 4 bytes a value",
        ("32", "32"),
        *(_floats(1),) * 2,
        "2111.04263",
        note="the mean is over clients, not samples",
    ),
    "fedbat": Method(
        "a bit a value, which training has learnt, and a step size a kernel",
        "float32 weights",
        "nothing",
        ("1 + 32 / n", "32"),
        _each(lambda settings, shape: 1 + 32 / math.prod(shape)),
        _floats(1),
        "2408.03215",
        unbiased=False,
        note="unbiased up to the step size, and cut off there; biases and norms as floats",
    ),
    "fedbif": Method(
        "one bit plane of each kernel",
        "m bits a value, and a scale a kernel",
        "nothing",
        ("1", "m + 32 / n"),
        _each(lambda settings, shape: 1.0),
        _each(lambda settings, shape: settings.bits + 32 / math.prod(shape)),
        "2509.10161",
        unbiased=False,
        note="from the abstract, and a public copy of the program; biases and norms as floats",
    ),
    "fedcompress": Method(
        "K centers a kernel and codes, K growing",
        "K centers a kernel and codes",
        "nothing",
        ("at most ceil(log2 K) + 32 K / n",) * 2,
        *(_each(_with_most_centers),) * 2,
        "2401.14211",
        unbiased=False,
        note="K grows by the training loss, and the formula counts the most that there may be; "
        "distilled on noise; needs long local training",
    ),
    "lbgm": Method(
        "a number, or the change where it points elsewhere than the last one sent",
        "float32 weights",
        "the last change sent, 4 bytes a value, and so does the server",
        ("32 / n, or 32", "32"),
        *(_floats(1),) * 2,
        "2202.00280",
        at_most=True,
        unbiased=False,
    ),
    "fedpm": Method(
        "a mask over frozen random weights",
        "the probability of each weight, as float32 or in steps",
        "nothing",
        ("at most 1", "32, or ceil(log2(levels + 1))"),
        _each(lambda settings, shape: 1.0),
        _each(lambda settings, shape: math.ceil(math.log2(settings.levels + 1)) or 32.0),
        "2209.15328",
        _MASKED,
        note="needs a wide model and `local.learning_rate` 0.1 with Adam",
    ),
    "fedpm_mrc": Method(
        "a mask, as numbers of candidates that both ends draw",
        "S masks, likewise",
        "nothing; all hold the same probabilities",
        ("bits / B", "S bits / B"),
        _each(_blocks),
        _each(lambda settings, shape: settings.samples * _blocks(settings, shape)),
        "2306.12625; both ways: 2502.00206",
        _MASKED,
        unbiased=False,
        note="as fedpm; BiCompFL's idea, not its steps",
    ),
}
"""By ``algorithm.name``, of those that are not compositions of FedAvg."""


def row(name: str) -> dict[str, str]:
    """The card of a method at its defaults, in words: the page of all methods, by column.

    Example:
      >>> row("feddyn")["a client keeps"]
      'its gradient, 4 bytes a value'
    """
    card = method_of(AlgorithmConfig.members[name]())
    return {
        "method": f"`{name}`",
        "up": card.up,
        "down": card.down,
        "a client keeps": card.keeps,
        "bits up, by formula": card.formula[0],
        "bits down, by formula": card.formula[1],
        "unbiased": "yes" if card.unbiased else "no",
        "source": card.source,
        "note": card.note,
    }
