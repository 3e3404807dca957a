"""What all pictures share: their style, texts, legends and files."""

import itertools
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcode_jax import drawing


@drawing.styled
def picture(labels=("a", "b"), width="page", count=2):
    figure, panels = drawing.panels(width, count)
    handles = []
    for number, _ in enumerate(labels):
        style = drawing.style(number)
        (line,) = panels[0].plot(
            [1, 2], [number, 2], style.marker, color=style.colour, ls=style.dash
        )
        handles.append(line)
    panels[0].set(xlabel="sent (MB)", ylabel="accuracy (%)")
    drawing.legend_below(figure, handles, labels)
    return figure


def test_a_pdf_is_the_same_whenever_it_is_drawn_and_has_its_fonts(monkeypatch):
    first = drawing.encoded(picture(), "pdf")
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert drawing.encoded(picture(), "pdf") == first
    assert b"Date" not in first
    assert b"/FontFile2" in first  # TrueType, embedded
    assert b"/Type3" not in first
    streams = re.findall(rb"stream\r?\n(.*?)endstream", first, re.DOTALL)
    read = [zlib.decompressobj().decompress(each) for each in streams if each[:1] == b"x"]
    assert any(each[:4] == b"\x00\x01\x00\x00" for each in read)


def test_other_formats_have_no_date_either():
    for kind in ("png", "svg"):
        one, two = (drawing.encoded(picture(), kind) for _ in range(2))
        assert one == two
    assert b"<dc:date>" not in two


def test_matplotlibs_settings_are_as_before():
    import matplotlib

    before = dict(matplotlib.rcParams)
    picture()
    assert dict(matplotlib.rcParams) == before


def test_lines_are_told_apart_without_their_colours():
    styles = [drawing.style(number) for number in range(drawing.MOST_STYLES)]
    assert len({style.marker for style in styles}) == drawing.MOST_STYLES
    for one, two in itertools.pairwise(styles):
        assert one.dash != two.dash
        assert abs(grey(one.colour) - grey(two.colour)) > 0.1


def grey(colour):
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.parametrize("letters", [3, 40, 300])
def test_a_legend_covers_nothing_and_fits_the_figure(width, letters):
    labels = [f"{number} " + "word " * (letters // 5) for number in range(9)]
    figure = picture(labels, width)
    drawing.png(figure)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert figure.get_figwidth() == drawing.WIDTHS[width]
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y0 >= -1
    for axes in figure.axes:
        assert axes.get_tightbbox().y0 >= box.y1 - 1
        assert axes.get_window_extent().height > 0.7 * 200


def test_a_legend_shows_labels_as_they_are():
    labels = ["_silence_", "$$", r"$\frac$", "a $5-$10 b"]
    figure = picture(labels)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert drawing.png(figure).startswith(b"\x89PNG")


@given(st.lists(st.text(max_size=30), max_size=8), st.integers(6, 40))
def test_texts_are_short_drawable_and_told_apart(texts, most):
    found = drawing.shortened(texts, most)
    assert len(found) == len(texts)
    assert all(len(each) <= most + len(" (88)") for each in found)
    assert all(drawing.readable(each) == each for each in found)


@given(st.lists(st.sampled_from("猫狗鸟").map(lambda c: c * 3) | st.text("ab (1)", max_size=9)))
def test_different_texts_stay_different(texts):
    readable = list(dict.fromkeys(texts))
    assert len(set(drawing.shortened(readable, 6))) == len(readable)
