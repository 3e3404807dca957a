"""CSV files that grow as a run goes."""

import csv
import json

from fedcode_jax.results.rows import append_rows, csv_text, cut_rows, read_rows


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_are_read_back_as_they_were(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [
        {"round": number, "loss": 0.1 * number, "sent": {"up": number > 1}, "note": 'a "b", c'}
        for number in (1, 2, 3)
    ]
    append_rows(path, rows[:1])
    append_rows(path, [])
    append_rows(path, rows[1:])
    found = table(path)
    assert list(found[0]) == ["round", "loss", "sent.up", "note"]
    for row, expected in zip(found, rows, strict=True):
        assert float(row["loss"]) == expected["loss"]  # every digit
        assert json.loads(row["sent.up"]) == expected["sent"]["up"]
        assert row["note"] == expected["note"]
    assert path.read_text() == csv_text(rows, list(found[0]))


def test_a_new_column_makes_the_file_anew(tmp_path):
    path = tmp_path / "metrics.csv"
    append_rows(path, [{"round": 1, "loss": 0.5}])
    append_rows(path, [{"round": 2, "loss": 0.25, "accuracy": 0.75}])
    append_rows(path, [{"round": 3}])
    assert path.read_text() == "round,loss,accuracy\n1,0.5,\n2,0.25,0.75\n3,,\n"


def test_a_file_that_was_cut_off_is_read_and_mended(tmp_path):
    path = tmp_path / "clients.csv"
    rows = [{"round": number, "client": client} for number in (1, 2) for client in range(3)]
    append_rows(path, rows)
    whole = path.read_text()
    path.write_text(whole[:-3])
    assert [row["client"] for row in read_rows(path)] == ["0", "1", "2", "0", "1"]
    cut_rows(path, 1)
    append_rows(path, rows[3:])
    assert path.read_text() == whole
    path.write_text("round,cli")  # in the middle of its first line
    append_rows(path, rows)
    assert path.read_text() == whole


def test_what_is_not_there_stays_so(tmp_path):
    cut_rows(tmp_path / "clients.csv", 3)
    assert not list(tmp_path.iterdir())
