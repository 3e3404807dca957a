"""The picture of growth.py: seconds a round and memory against each axis."""

import pathlib
from typing import Any

from fedcode_jax import drawing

AXES = {
    "clients": "clients (10 a round, CNN of 6,090 parameters)",
    "cohort": "clients a round (of 1,000, MLP of 4,810 parameters)",
    "parameters": "parameters (10 clients a round, CIFAR-10's shapes)",
    "devices": "devices (64 clients a round, CNN of 6,090 parameters)",
}


@drawing.styled
def draw(points: list[dict[str, Any]], cores: int | None, path: pathlib.Path) -> None:
    """Seconds a round (left) and memory (right) against each axis; as PNG and as PDF."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}")
    time_colour, memory_colour = drawing.COLOURS[0], drawing.COLOURS[3]
    figure = drawing.blank(drawing.WIDTHS["page"], 5.4)
    for axes, (axis, label) in zip(figure.subplots(2, 2).flat, AXES.items(), strict=True):
        own = [point for point in points if point["axis"] == axis]
        found = sorted((p for p in own if "skipped" not in p), key=lambda p: p["x"])
        notes = [f"{p['name']}: skipped, {p['skipped']}" for p in own if "skipped" in p]
        x = [point["x"] for point in found]
        seconds = [point["seconds_a_round"] for point in found]
        memory = [point["peak_resident_bytes"] / 1e9 for point in found]
        account = [p["compiled_bytes_per_device"] * p["devices"] / 1e9 for p in found]
        right = axes.twinx()
        # Models are different things, not one thing in four sizes.
        line = "" if axis == "parameters" else "-"
        axes.plot(x, seconds, f"o{line}", color=time_colour, label="seconds a round")
        cpu = [point["cpu_seconds_a_round"] for point in found]
        axes.plot(
            x,
            cpu,
            f"v{line and '--'}",
            color=time_colour,
            mfc="none",
            label="CPU seconds a round, all threads",
        )
        right.plot(
            x, memory, f"s{line}", color=memory_colour, label="peak memory of the process (GB)"
        )
        right.plot(
            x,
            account,
            f"^{line and '--'}",
            color=memory_colour,
            mfc="none",
            label="a compiled round on all devices, by the compiler (GB)",
        )
        axes.set(xscale="log", yscale="log", xlabel=label)
        right.set(yscale="log")
        axes.set_ylabel("seconds a round", color=time_colour)
        right.set_ylabel("memory (GB)", color=memory_colour)
        if axis == "parameters":
            axes.margins(x=0.35)
            for point in found:
                axes.annotate(
                    point["name"],
                    (point["x"], point["seconds_a_round"]),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                )
        else:
            axes.set_xticks(x)
        if axis == "devices":
            axes.axvline(cores or 1, color="grey", linestyle=":", linewidth=1)
            notes.append(f"this machine has {cores} cores: more devices than cores gain nothing")
        for one, values in ((axes, seconds + cpu), (right, memory + account)):
            if not values:
                continue
            # At least a decade, so that noise does not look like growth.
            middle = (min(values) * max(values)) ** 0.5
            half = max(10**0.5, 1.5 * (max(values) / min(values)) ** 0.5)
            one.set_ylim(middle / half, middle * half)
            many = half > 10
            one.yaxis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0)))
        for one in (axes.xaxis, axes.yaxis, right.yaxis):
            one.set_major_formatter(plain)
            one.set_minor_formatter(NullFormatter())
        axes.set_title("\n".join(notes))
        axes.grid(alpha=0.3)
    handles = [*axes.get_lines()[:2], *right.get_lines()]
    drawing.legend_below(figure, handles, [str(handle.get_label()) for handle in handles])
    title = "FedCode on CPU: time (blue, left axes) and memory (orange, right axes)"
    for point in points:
        if point["axis"] == "named" and "skipped" not in point:
            title += (
                f"\n{point['name']}, 100 a round: {point['seconds_a_round']:.1f} s a round, "
                f"{point['peak_resident_bytes'] / 1e9:.1f} GB peak"
            )
    figure.suptitle(title)
    for file in (path, path.with_suffix(".pdf")):
        file.write_bytes(drawing.encoded(figure, file.suffix[1:]))
