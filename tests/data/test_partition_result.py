import numpy as np
import pytest

from fedcode_jax import drawing
from fedcode_jax.data import Partition, partition
from fedcode_jax.data.partition import plot

LABELS = np.arange(3000) % 10


def rows(*clients):
    return tuple(np.array(client, np.int32) for client in clients)


def test_checksum_sees_order_and_borders():
    variants = [
        Partition("a", rows([0, 1], [2, 3])),
        Partition("a", rows([0], [1, 2, 3])),
        Partition("a", rows([2, 3], [0, 1])),
        Partition("a", rows([0, 1], [2, 3], [])),
    ]
    assert len({variant.checksum for variant in variants}) == 4
    assert Partition("b", rows([0, 1], [2, 3])).checksum == variants[0].checksum


def test_checksums_are_those_of_earlier_versions():
    # A change makes recorded runs unrepeatable: it must be on purpose.
    known = {
        "iid": "aaea1c7f9351cee2",
        "multinomial": "3e19bed058d5070c",
        "dirichlet": "582cc166f0076fa6",
        "imbalanced": "9596cfe9809d05e6",
        "by_class": "a172cc5bcf3a9846",
    }
    for name, start in known.items():
        assert partition.registry[name](LABELS, 10, seed=3).checksum.startswith(start), name


def test_rows_cannot_be_changed_behind_the_checksum():
    made = partition.iid(LABELS, 10)
    with pytest.raises(ValueError, match="read-only"):
        made.clients[0][0] = 5


def test_counts_against_a_plain_loop():
    made = partition.dirichlet(LABELS, 7, alpha=0.3)
    plain = [[int((LABELS[rows] == k).sum()) for k in range(12)] for rows in made.clients]
    np.testing.assert_array_equal(made.counts(LABELS, num_classes=12), plain)
    assert made.counts(LABELS).shape == (7, 10)


def test_str_and_describe():
    made = Partition("mine", rows([0, 2], [1]))
    assert str(made) == "mine: 2 clients, 3 samples; sizes min 1, median 1.5, max 2"
    text = made.describe([0, 1, 1], class_names=["cat", "dog"])
    assert text.splitlines()[1] == "classes of a client: min 1, median 1.5, max 2"
    assert text.splitlines()[2].split() == ["client", "size", "cat", "dog"]
    assert text.splitlines()[3].split() == ["0", "2", "1", "1"]


def test_describe_stays_short():
    many = partition.dirichlet(np.arange(50_000) % 100, 500)
    assert len(many.describe(np.arange(50_000) % 100).splitlines()) == 2
    lines = partition.iid(LABELS, 500).describe(LABELS).splitlines()
    assert lines[-1] == "... and 480 more"
    assert len(lines) == 24


@pytest.mark.parametrize(
    ("num_clients", "classes", "ending"),
    [(1, 10, "png"), (10, 10, "png"), (500, 40, "png"), (60, 20, "svg")],
)
def test_plot(tmp_path, num_clients, classes, ending):
    labels = np.arange(10_000) % classes
    file = tmp_path / "new" / f"plot.{ending}"
    partition.dirichlet(labels, num_clients).plot(labels, file)
    if ending == "png":
        import matplotlib.image

        pixels = matplotlib.image.imread(file)
        assert 1400 <= pixels.shape[1] <= 2000
        assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > classes  # every class has its colour
    else:
        assert b"<svg" in file.read_bytes()


def test_plot_shows_the_counts(tmp_path):
    import matplotlib.image

    made = Partition("mine", rows(range(30), range(30, 40)))
    made.plot([0] * 20 + [1] * 20, tmp_path / "plot.png", class_names=["cat", "dog"])
    pixels = (matplotlib.image.imread(tmp_path / "plot.png")[..., :3] * 255).round().astype(int)
    dark = (pixels == [68, 1, 84]).all(axis=-1).sum()
    light = (pixels == [253, 231, 37]).all(axis=-1).sum()
    assert abs(dark / light - 1) < 0.05  # 20 samples of each class: equal areas


def test_the_legend_has_class_names_as_they_are():
    names = ["_silence_", "$$", "a\tb", "x" * 300, "猫", "狗"]
    counts = np.arange(12).reshape(2, 6)
    figure = plot.stacked("$5 {of} _it", counts, names)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()][::-1]
    assert texts[:3] == ["_silence_", "$$", "a b"]
    assert texts[3].startswith("xxx")
    assert len(texts[3]) < 30
    assert texts[4:] == ["? (1)", "? (2)"]
    assert drawing.png(figure)  # a warning would be an error
    width = axes.get_window_extent().width / figure.get_window_extent().width
    assert width > 0.6


def test_plot_leaves_pyplot_alone(tmp_path):
    import sys

    already = "matplotlib.pyplot" in sys.modules
    partition.iid(LABELS, 3).plot(LABELS, tmp_path / "plot.png")
    assert ("matplotlib.pyplot" in sys.modules) == already
