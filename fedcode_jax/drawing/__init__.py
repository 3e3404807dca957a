"""How every picture looks: style, axes, legends, texts as they are, and files without a date."""

from fedcode_jax.drawing.axes import legend_below, panels, scale_log_if_wide, tidy
from fedcode_jax.drawing.files import encoded, png
from fedcode_jax.drawing.style import (
    COLOURS,
    DASHES,
    GREY,
    MARKED_UP_TO,
    MARKERS,
    MOST_STYLES,
    WIDTHS,
    Style,
    Width,
    blank,
    style,
    styled,
)
from fedcode_jax.drawing.text import flat, readable, shortened

__all__ = [
    "COLOURS",
    "DASHES",
    "GREY",
    "MARKED_UP_TO",
    "MARKERS",
    "MOST_STYLES",
    "WIDTHS",
    "Style",
    "Width",
    "blank",
    "encoded",
    "flat",
    "legend_below",
    "panels",
    "png",
    "readable",
    "scale_log_if_wide",
    "shortened",
    "style",
    "styled",
    "tidy",
]
