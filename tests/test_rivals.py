"""``benchmarks/rivals.py``: its methods, pieces that go on where they were, tables and answer."""

import importlib
import json
import time
from pathlib import Path

import pytest

import fedcode_jax
from fedcode_jax.config import AlgorithmConfig
from fedcode_jax.config.algorithms import FedAvg
from fedcode_jax.errors import CheckpointError
from fedcode_jax.experiment import SweepRun

BENCHMARKS = Path(fedcode_jax.__file__).parents[1] / "benchmarks"
FLOATS = 14_624_400
FACTS = {
    "command": "python benchmarks/rivals.py digits",
    "date": "2026-01-02",
    "versions": {"jax": "0.9", "device": "2 x cpu"},
    "cores": 2,
}


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("rivals")


def ended(accuracy, sent, *, deployed=None, personal=None, status="completed"):
    """A run of a piece: accuracies and bytes each way, the same in every round."""
    one = {
        "test_accuracy": accuracy,
        "deployed_accuracy": accuracy if deployed is None else deployed,
        "cumulative_bytes": 2 * sent,
    }
    if personal is not None:
        one["personal_accuracy"] = personal
    summary = {
        "status": status,
        "final_accuracy": accuracy,
        "final_deployed_accuracy": one["deployed_accuracy"],
        "total_uplink_bytes": sent,
        "total_downlink_bytes": sent,
        "reduction_vs_fedavg": FLOATS / sent,
        "data_checksum": "abc",
    }
    return SweepRun({}, None, [one] * 12, summary)


def folder_of(rivals, tmp_path, figures, seeds=2):
    """Records of digits: of each method what ``figures`` give for a seed; the task."""
    task = rivals.dataclasses.replace(rivals.TASKS["digits"], seeds=seeds)
    every = rivals.variants()
    todo, errors = rivals.pieces("digits", task, {name: every[name] for name in figures})
    assert not errors

    def work(piece):
        return [ended(**figures[piece.method](seed)) for _, seed in piece.points]

    rivals.go(todo, work, tmp_path / "rivals", None, FACTS)
    return task


def reported(rivals, tmp_path, figures, **settings):
    task = folder_of(rivals, tmp_path, figures, **settings)
    rivals.report("digits", task, tmp_path)
    return (tmp_path / "rivals-digits.md").read_text()


def cells_of(text, method):
    """The cells of a method's rows, IID first."""
    rows = [line for line in text.splitlines() if line.startswith(f"| `{method}` ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


FIGURES = {
    "fedavg": lambda seed: {"accuracy": 0.90 + 0.02 * seed, "sent": FLOATS},
    "stc": lambda seed: {"accuracy": 0.90 + 0.01 * seed, "sent": FLOATS // 60},
    "fedpaq": lambda seed: {"accuracy": 0.90 + 0.017 * seed, "sent": FLOATS // 4},
    "eden": lambda seed: {"accuracy": 0.92, "deployed": 0.8, "sent": FLOATS // 30},
    "fedavg, sgd, learning rate 0.1": lambda seed: {"accuracy": 0.80, "sent": FLOATS},
    "scaffold": lambda seed: {"accuracy": 0.81, "sent": 2 * FLOATS},
}


def test_every_registered_method_is_there_after_what_it_is_compared_with(rivals, monkeypatch):
    monkeypatch.setitem(AlgorithmConfig.members, "a_new_one", FedAvg)
    found = rivals.variants()
    assert {*AlgorithmConfig.members} <= {*found}
    assert next(iter(found)) == "fedavg"
    order = list(found)
    for name, variant in found.items():
        assert order.index(variant.reference) <= order.index(name)
        assert found[variant.reference].settings["algorithm.name"] == "fedavg"
        assert found[variant.reference].besides in (variant.besides, {})


def test_all_methods_have_pieces_of_their_own_and_configs_without_errors(rivals):
    for name, task in rivals.TASKS.items():
        todo, errors = rivals.pieces(name, task, rivals.variants())
        assert not errors.keys() - {"fedbn", "fedavg, norm batch"}  # LeNet-5 has no such layers
        assert len({piece.path for piece in todo}) == len(todo)
        points = [(piece.method, *point) for piece in todo for point in piece.points]
        every = len(task.partitions) * task.seeds * (len(rivals.variants()) - len(errors))
        assert len(points) == len(set(points)) == every


def test_only_takes_all_settings_of_a_method_and_what_they_are_compared_with(rivals):
    assert set(rivals.chosen(["fedavg"])) == {"fedavg"}
    assert set(rivals.chosen(["eden, 0.5 bits"])) == {"fedavg", "eden, 0.5 bits"}
    assert {"eden", "eden, 0.5 bits"} < set(rivals.chosen(["eden"]))
    assert set(rivals.chosen(["scaffold"])) == {
        "fedavg",
        "fedavg, sgd, learning rate 0.1",
        "scaffold",
    }


def test_a_second_call_does_what_failed_is_missing_or_of_other_settings(rivals, tmp_path):
    task = rivals.dataclasses.replace(rivals.TASKS["digits"], seeds=1)
    every = rivals.chosen(["stc", "fedpaq"])

    def left(task):
        todo, _ = rivals.pieces("digits", task, every)
        return [piece.method for piece in todo if not rivals.is_done(piece, tmp_path)]

    def work(piece):
        if piece.method == "stc":
            raise ValueError("no such luck")
        return [ended(0.9, 100, status="diverged") for _ in piece.points]

    todo, _ = rivals.pieces("digits", task, every)
    rivals.go(todo[:2], work, tmp_path, None, FACTS)
    assert [piece.method for piece in todo[:2]] == ["fedavg", "fedpaq"]
    rivals.go([piece for piece in todo if piece.method == "stc"], work, tmp_path, None, FACTS)
    assert left(task) == [piece.method for piece in todo[2:]]
    (failed,) = tmp_path.glob("digits/stc.*")
    assert "no such luck" in json.loads(failed.read_text())["runs"][1]["error"]
    longer = rivals.dataclasses.replace(task, settings={"rounds": 61})
    assert left(longer) == [piece.method for piece in todo]


def test_no_piece_is_begun_when_the_time_is_up(rivals, tmp_path, capsys):
    todo, _ = rivals.pieces("digits", rivals.TASKS["digits"], rivals.variants())
    rivals.go(todo, None, tmp_path, time.monotonic() - 1, FACTS)
    assert f"no time left for {len(todo)} pieces" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_figures_are_means_over_seeds_and_differences_seed_by_seed(rivals, tmp_path):
    text = reported(rivals, tmp_path, FIGURES)
    for cells in cells_of(text, "stc"):
        assert cells[1].startswith("fedavg, up stc (fraction 0.01, error_feedback float32), down")
        assert cells[2:] == [
            "2", "90.5 ± 0.7", "-0.50 ± 0.50", "90.5 ± 0.7", "-0.50 ± 0.50", "0.24", "0.24", "60.0x"
        ]  # fmt: skip
    scaffold = cells_of(text, "scaffold")[0]
    assert scaffold[1] == "scaffold; sgd; learning rate 0.1"
    assert (scaffold[4], scaffold[7], scaffold[9]) == ("+1.00 ± 0.00", "29.25", "0.5x")
    assert cells_of(text, "fedavg")[0][4] == ""
    order = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert order[:6] == ["scaffold", "fedavg", "fedavg, sgd, learning rate 0.1", "fedpaq", "eden",
                         "stc"]  # fmt: skip
    assert "pieces have not been run yet" in text
    assert (tmp_path / "rivals-digits.png").read_bytes()[:4] == b"\x89PNG"


def test_the_answer_is_the_fewest_bytes_at_fedavgs_accuracy_both_ways(rivals, tmp_path):
    text = reported(rivals, tmp_path, FIGURES)
    # stc is 0.5 points below; eden as deployed; fedpaq 0.15.
    assert "digits, IID: of 6 methods 2 are at FedAvg's accuracy" in text
    assert "is `fedpaq` (7.31 MB, 4.0 times fewer, -0.15); then `fedavg` (" in text


def test_one_that_lacks_seeds_or_diverged_is_no_answer(rivals, tmp_path):
    fewer = {
        "stc": lambda seed: {"accuracy": 0.99, "sent": 9, "status": ["completed", "diverged"][seed]}
    }
    text = reported(rivals, tmp_path, {"fedavg": FIGURES["fedavg"], **fewer})
    assert cells_of(text, "stc")[0][3:] == ["1 completed, 1 diverged", *[""] * 6]
    assert "of 2 methods 1 are" in text
    assert "is `fedavg`" in text


def test_clients_own_models_are_in_the_table_where_there_are_any(rivals, tmp_path):
    own = {"fedprox": lambda seed: {"accuracy": 0.5, "sent": 9, "personal": 0.9 + 0.02 * seed}}
    text = reported(rivals, tmp_path, {"fedavg": FIGURES["fedavg"], **own})
    assert "| clients' own models |" in text
    assert cells_of(text, "fedprox")[0][-1] == "91.0 ± 1.4"
    assert len(cells_of(text, "fedavg")[0]) == 11


def test_no_folder_of_the_machine_is_in_a_record(rivals, tmp_path):
    task = rivals.TASKS["cifar10-lenet5"]
    settings = {**task.settings, "data.path": [str(tmp_path / "images.npz")]}
    task = rivals.dataclasses.replace(task, settings=settings, seeds=1)
    todo, _ = rivals.pieces("cifar10-lenet5", task, rivals.chosen(["fedavg"]))
    rivals.go(todo, lambda piece: [ended(0.4, 9)], tmp_path, None, FACTS)
    (file,) = tmp_path.glob("cifar10-lenet5/*.json")
    assert str(tmp_path) not in file.read_text()
    assert rivals.is_done(todo[0], tmp_path)


def test_a_long_piece_goes_on_from_its_checkpoint_if_it_has_one(rivals, tmp_path, monkeypatch):
    pieces = importlib.import_module("rivals_pieces")
    todo, _ = rivals.pieces("digits", rivals.TASKS["digits"], rivals.chosen(["fedavg"]))
    calls = []

    def run(config, resume=False, overwrite=False):
        calls.append((config.seed, resume, overwrite))
        if resume and config.seed == 1:
            raise CheckpointError("there is none")
        Path(config.out).mkdir(parents=True, exist_ok=True)
        found = ended(0.9, 9)
        return type("Result", (), {"records": found.records, "summary": found.summary})

    monkeypatch.setattr(pieces, "run", run)
    piece = rivals.dataclasses.replace(todo[0], points=(("IID", 0), ("IID", 1), ("IID", 2)))
    name = piece.path.removesuffix(".json")
    for number in (1, 2):
        (tmp_path / f"{name}.{number}").mkdir(parents=True)
    assert len(rivals.alone(tmp_path)(piece)) == 3
    assert calls == [(0, False, False), (1, True, False), (1, False, True), (2, True, False)]
    assert not list(tmp_path.glob("digits/*"))  # what is done is not kept twice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digit"], "Did you mean 'digits'"),
        (["--only", "edem"], "Did you mean 'eden'"),
        (["cifar10-lenet5"], "give CIFAR-10 as an npz file"),
        (["--share", "3/2"], "3/2 cannot be used"),
    ],
)
def test_what_cannot_be_is_said_at_once(rivals, words, said, capsys):
    with pytest.raises(SystemExit):
        rivals.main(words)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_tiny_runs_of_all_kinds_from_end_to_end(rivals, tmp_path):
    only = ["--only", "fedavg", "stc, 5 %", "--out", str(tmp_path)]
    rivals.main(["digits", "cifar10-lenet5", "--smoke", *only])
    text = (tmp_path / "rivals-digits.md").read_text()
    assert [cells[2] for cells in cells_of(text, "stc, 5 %")] == ["2", "2"]
    (cells,) = cells_of((tmp_path / "rivals-cifar10-lenet5.md").read_text(), "stc, 5 %")
    assert float(cells[-1].removesuffix("x")) > 1
    assert len(list(tmp_path.glob("rivals/*/*.json"))) == 2 + 4
