"""The advice on a page: the recommendation, what else there is, and a staged rollout."""

import base64
import html as escaping
import math
from typing import Any

from fedcode_jax.advice.advising import Advice
from fedcode_jax.advice.choosing import Estimate, Floor, Objective
from fedcode_jax.advice.rollout import rollout
from fedcode_jax.results.units import format_bytes, format_seconds

PICTURE = "frontier.png"


def markdown(advice: Advice) -> str:
    """The whole page as Markdown.

    Args:
      advice: the answer.

    Returns:
      The text; it refers to the picture by ``PICTURE``.
    """
    config, best = advice.config, advice.verdict.best
    title = f"# How often to synchronise: {config.model.name} on {config.data.name}"
    facts = [
        f"- network: {advice.network}",
        f"- clients: {advice.num_clients}, split {config.partition.name};"
        f" {config.clients_per_round or 'all of them'} a round, {config.rounds} rounds",
        _devices(advice),
        question(advice.floor, advice.objective),
    ]
    settings = [f"    {name}: {value}" for name, value in best.choice.settings.items()]
    return "\n".join(
        [
            title,
            "",
            *facts,
            "",
            "## Recommendation",
            "",
            *_answer(advice),
            "",
            "`config.yaml`, beside this page, is the experiment with these settings:",
            "",
            *settings,
            "",
            *_neighbours(advice),
            "## What was tried",
            "",
            f"![bytes against accuracy]({PICTURE})",
            "",
            *_table(advice),
            "",
            *rollout(advice),
            "",
            "## How this was found",
            "",
            *_method(advice),
            "",
        ]
    )


def question(floor: Floor, objective: Objective) -> str:
    """The line of the page that says what was asked.

    Example:
      >>> question(Floor(loss=0.02), "bytes")
      '- asked for: at most 2 points under FedAvg, at as few bytes as possible'
    """
    return f"- asked for: {floor}, at as few {objective} as possible"


def _devices(advice: Advice) -> str:
    """What computing takes, which a reader may not know to be free."""
    network: Any = advice.config.network
    if not hasattr(network, "samples_per_second"):
        return "- devices: as your own network has them"
    if network.samples_per_second is None:
        return (
            "- devices: training takes no time, so that seconds are those of messages alone, and a "
            "choice that sends little seems quick; say how fast devices are by "
            "`--network.samples-per-second`"
        )
    return f"- devices: {network.samples_per_second:g} samples a second, the median client"


def _answer(advice: Advice) -> list[str]:
    best, yardstick = advice.verdict.best, advice.yardstick
    figures = (
        f"**{best.choice}**: accuracy {_percent(best.accuracy, best.half_width)}, "
        f"{_loss(best)}, {format_bytes(best.bytes)} and {_hours(best.seconds)} in a run "
        f"(FedAvg: {_percent(yardstick.accuracy, yardstick.half_width)}, "
        f"{format_bytes(yardstick.bytes)}, {_hours(yardstick.seconds)})."
    )
    if advice.verdict.status == "kept":
        lead = f"This choice keeps {advice.floor} with 95 % confidence."
    elif advice.verdict.status == "likely":
        lead = (
            f"This choice keeps {advice.floor} in the mean over {best.seeds} seeds, but not with "
            "95 % confidence; nothing that was tried does. Ask with more seeds, or see the safer "
            "choice."
        )
    else:
        lead = (
            f"**Impossible**: nothing that was tried keeps {advice.floor}, FedAvg included. This "
            "is the most accurate there is; more rounds, another model or another learning rate "
            "may help, another schedule will not."
        )
    skips = best.choice.algorithm == "skip"
    note = (
        "It sends nothing at all between calibrations: codebooks were not worth their bytes here."
    )
    return [lead, "", figures, *(["", note] if skips else [])]


def _neighbours(advice: Advice) -> list[str]:
    lines = []
    for name, other in (("cheaper", advice.verdict.cheaper), ("safer", advice.verdict.safer)):
        if other is None:
            lines += [f"- There is no {name} choice among those tried."]
            continue
        cost = format_bytes(other.bytes)
        lines += [
            f"- The next {name} choice is {other.choice}: "
            f"{_percent(other.accuracy, other.half_width)}, {_loss(other)}, {cost}, "
            f"{_hours(other.seconds)}; that is {_change(other, advice.verdict.best)}."
        ]
    return [*lines, ""]


def _change(other: Estimate, best: Estimate) -> str:
    points = 100 * (other.accuracy - best.accuracy)
    more = 100 * (other.bytes / best.bytes - 1) if best.bytes else math.inf
    longer = 100 * (other.seconds / best.seconds - 1) if best.seconds else math.inf
    return f"{points:+.1f} points, {more:+.0f} % bytes, {longer:+.0f} % time"


def _table(advice: Advice) -> list[str]:
    head = ["choice", "seeds", "accuracy (%)", "points under FedAvg", "bytes", "time"]
    lines = [f"| {' | '.join(head)} |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for each in advice.estimates:
        mark = "**" if each == advice.verdict.best else ""
        runs = f"{each.seeds}" + (f" ({each.failed} failed)" if each.failed else "")
        cells = [
            f"{mark}{each.choice}{mark}",
            runs,
            _percent(each.accuracy, each.half_width, unit=""),
            _percent(each.loss, each.loss_half_width, unit="", decimals=2),
            format_bytes(each.bytes) if each.seeds else "-",
            _hours(each.seconds) if each.seeds else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _method(advice: Advice) -> list[str]:
    most = max(each.seeds for each in advice.estimates)
    return [
        f"Every choice was simulated with two seeds, those that came into question with {most}.",
        "Accuracy is that of the model that clients receive, mean of the last period (at least ten",
        "rounds; the last ten where there is no period). Intervals are 90 %, by Student's t over",
        "the seeds; points under FedAvg are differences seed by seed. Bytes are of encoded",
        "messages, both ways, of all clients together. Codes are written given those that both",
        "sides hold (`algorithm.coding conditional`, which changes no weight), unless the",
        "experiment says otherwise. Time is simulated on the network above.",
        "Accuracy on your clients is another matter than accuracy here: that is what the pilot is",
        "for.",
    ]


def _percent(value: float, half_width: float, unit: str = " %", decimals: int = 1) -> str:
    if not math.isfinite(value):
        return "-"
    text = f"{100 * value:.{decimals}f}"
    if math.isfinite(half_width):
        text += f" ± {100 * half_width:.{decimals}f}"
    return text + unit


def _loss(each: Estimate) -> str:
    return f"{_percent(each.loss, each.loss_half_width, unit='', decimals=2)} points under FedAvg"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else format_seconds(seconds)


def html(text: str, picture: bytes) -> str:
    """The page as one HTML file, the picture in it.

    Args:
      text: as ``markdown`` gives it.
      picture: the PNG that it refers to.

    Returns:
      The file.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark").enable("table").render(text)
    data = base64.b64encode(picture).decode()
    body = body.replace(f'src="{PICTURE}"', f'src="data:image/png;base64,{data}"')
    title = escaping.escape(text.splitlines()[0].lstrip("# "))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "img{max-width:100%}table{border-collapse:collapse}td,th{padding:.2rem .7rem;"
    "border-bottom:1px solid #ddd}pre,code{background:#f5f5f5}pre{padding:.6rem}"
)
