"""Tables of clients: what is read of a file, and what is refused by file and line."""

import numpy as np
import pytest

from fedcode_jax.errors import ConfigError, DataError
from fedcode_jax.network import Network, read_table

GOOD = """\
uplink_mbit,downlink_mbit,round_trip,samples_per_second
1.5,10,0.02,100
0.5,4,0,50
8,80,0.005,400
"""


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "clients.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def test_spaces_around_names_do_not_matter(table):
    columns = read_table(table("uplink_mbit, downlink_mbit\n1, 2\n"))
    assert columns["downlink_mbit"].tolist() == [2]


def test_a_relative_path_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"gone\.csv: cannot be read: .* \(looked in {tmp_path}\)"):
        read_table("gone.csv")


def test_all_columns_are_read(table):
    columns = read_table(table(GOOD))
    assert {name: values.tolist() for name, values in columns.items()} == {
        "uplink_mbit": [1.5, 0.5, 8],
        "downlink_mbit": [10, 4, 80],
        "round_trip": [0.02, 0, 0.005],
        "samples_per_second": [100, 50, 400],
    }


def test_clients_draw_whole_rows(table):
    path = table(GOOD)
    links = Network("table", table=path, fit_seconds=1.0, link_jitter=0.5).links(300)
    rows = np.float32([[1.5e6, 10e6, 0.02, 100], [0.5e6, 4e6, 0, 50], [8e6, 80e6, 0.005, 400]])
    found = np.stack([links.uplink, links.downlink, links.round_trip, links.speed], axis=1)
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in rows.tolist()}
    counts = [(found == row).all(axis=1).sum() for row in rows]
    assert min(counts) > 60
    assert links.uplink_jitter == 0.5


def test_columns_that_may_lack_come_from_the_settings_in_any_order(table):
    path = table("downlink_mbit,uplink_mbit\n10,1\n")
    links = Network("table", table=path, round_trip=0.3, samples_per_second=70.0).links(2)
    assert links.uplink.tolist() == [1e6] * 2
    assert links.downlink.tolist() == [1e7] * 2
    np.testing.assert_allclose(links.round_trip, 0.3)
    np.testing.assert_allclose(links.speed, 70)


def test_tables_as_spreadsheets_save_them(table):
    """With a byte order mark, CRLF, quotes and blank lines."""
    path = table(b'\xef\xbb\xbfuplink_mbit,downlink_mbit\r\n\r\n"1",2\r\n\r\n')
    assert read_table(path)["uplink_mbit"].tolist() == [1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lacks uplink_mbit"),
        ("uplink_mbit,downlink_mbit,uplink_mbit\n1,2,3\n", "has two columns uplink_mbit"),
        ("uplink_mbit,downlink_mbit\n", "lacks rows"),
        ("uplink_mbit,round_trip\n1,2\n", "lacks downlink_mbit"),
        ("1,10\n2,20\n", "has a column '1'"),
        ("uplink_mbit,downlink_mbit,speed\n1,2,3\n", "has a column 'speed'"),
        ("uplink_mbit,downlink_mbit\n1,10\nfast,10\n", "line 3: uplink_mbit is 'fast'"),
        ("uplink_mbit,downlink_mbit\n1,0\n", "line 2: downlink_mbit is '0'"),
        ("uplink_mbit,downlink_mbit\n1,-3\n", "line 2: downlink_mbit is '-3'"),
        ("uplink_mbit,downlink_mbit\nnan,10\n", "line 2: uplink_mbit is 'nan'"),
        ("uplink_mbit,downlink_mbit\ninf,10\n", "line 2: uplink_mbit is 'inf'"),
        ("uplink_mbit,downlink_mbit\n1,10\n\n2\n", "line 4: has 1 values"),
        ("uplink_mbit,downlink_mbit\n1,10\n1,10,7\n", "line 3: has 3 values"),
        ("uplink_mbit,downlink_mbit,round_trip\n1,10,-1\n", "line 2: round_trip is '-1'"),
        (
            "uplink_mbit,downlink_mbit,samples_per_second\n1,10,0\n",
            "line 2: samples_per_second is '0'",
        ),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_malformed_tables_are_refused_by_file_and_line(table, text, complaint):
    path = table(text)
    with pytest.raises(DataError) as caught:
        read_table(path)
    message = str(caught.value)
    assert message.startswith(f"network.table: {path}")
    assert complaint in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv: cannot be read: No such file"):
        Network("table", table=str(tmp_path / "nowhere.csv")).links(3)
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path)


def test_what_a_table_says_cannot_be_set_beside_it(tmp_path):
    path = tmp_path / "clients.csv"
    path.write_text("uplink_mbit,downlink_mbit\n1,2\n")
    for setting in ("uplink_mbit", "downlink_mbit", "link_spread"):
        with pytest.raises(ConfigError, match=rf"network\.{setting}: 1\.0 .*network\.table"):
            Network(name="table", table=str(path), **{setting: 1.0})
    assert Network(name="table", table=str(path), link_jitter=0.5).links(1).uplink_jitter == 0.5
