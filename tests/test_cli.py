"""The command, with a stand-in for the simulation; the real run is tested beside it."""

import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import fedcode_jax
from fedcode_jax.cli import main
from fedcode_jax.cli.entry import COMMANDS
from fedcode_jax.config import ExperimentConfig, UpConfig, replace, setting_names, to_yaml
from fedcode_jax.errors import ConfigError, DataError
from fedcode_jax.results import summarise

FEDCODE = [sys.executable, "-c", "import sys; from fedcode_jax.cli import main; sys.exit(main())"]
RECORD = {
    "round": 1,
    "test_accuracy": 0.75,
    "uplink_bytes": 10,
    "downlink_bytes": 30,
    "cumulative_bytes": 40,
    "wall_seconds": 1.0,
}


@pytest.fixture
def simulation(monkeypatch, tmp_path):
    """Stands in for ``fedcode_jax.experiment``: notes what it is asked, and obeys."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("fedcode_jax.experiment")
    module.calls = []
    module.status = "completed"
    module.signal = "SIGINT"
    module.error = None

    def run(
        config, *, observer=None, overwrite=False, resume=False, wire_check=False, check=0,
        quiet=False,
    ):  # fmt: skip
        module.check = check
        module.calls.append((config, overwrite))
        assert quiet == (observer is None)
        module.resume = resume
        if observer is not None:
            observer.started({"data": "digits: 1,437 samples", "plan": "vmap"}, 1)
        if module.error is not None:
            raise module.error
        summary = summarise(
            [RECORD], period=1, status=module.status, fedavg_bytes=400, fedavg_formula_bits=0
        ) | {"network": "1 Mbit/s up, 10 Mbit/s down", "signal": module.signal}
        if observer is not None:
            observer.advanced([RECORD])
            observer.finished(summary)
        return types.SimpleNamespace(
            config=config, records=[RECORD], summary=summary, folder=Path(config.out)
        )

    module.run = run
    monkeypatch.setitem(sys.modules, "fedcode_jax.experiment", module)
    monkeypatch.setattr(fedcode_jax, "experiment", module, raising=False)
    return module


def test_a_run_shows_its_facts_its_progress_and_its_figures(simulation, capsys):
    assert main(["run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.index("digits: 1,437 samples") < out.index("vmap") < out.index("round 1/1")
    assert "75.00 %" in out
    assert "10.00x measured" in out
    assert "1 Mbit/s up, 10 Mbit/s down" in out
    assert simulation.calls == [(ExperimentConfig(out="runs/fedcode-digits"), False)]


@pytest.mark.parametrize(
    ("words", "rounds"), [([], 0), (["--check"], 2), (["--check", "5"], 5), (["--check=1"], 1)]
)
def test_check_alone_means_two_rounds(simulation, words, rounds):
    assert main(["run", *words, "--quiet"]) == 0
    assert simulation.check == rounds


def test_the_folder_is_named_after_algorithm_and_data(simulation):
    assert main(["run", "--algorithm.name", "fedavg", "--data.name", "synthetic"]) == 0
    assert main(["run", "--out", "here"]) == 0
    assert [config.out for config, _ in simulation.calls] == ["runs/fedavg-synthetic", "here"]


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--rounds 3 --seed=7", {"rounds": 3, "seed": 7}),
        ("--algorithm.num-clusters 32", {"algorithm.num_clusters": 32}),
        ("--algorithm.num_clusters 32", {"algorithm.num_clusters": 32}),
        ("--clients-per-round 4", {"clients_per_round": 4}),
        ("--clients-per-round None", {}),
        (
            "--data.name npz --data.path a.npz b.npz",
            {"data.name": "npz", "data.path": ["a.npz", "b.npz"]},
        ),
        (
            "--data.shape 8 8 3 --data.name synthetic",
            {"data.name": "synthetic", "data.shape": [8, 8, 3]},
        ),
        (
            "--data.name synthetic --data.shape [8,8,3]",
            {"data.name": "synthetic", "data.shape": [8, 8, 3]},
        ),
        (
            "--model.name cnn_pfl --model.dropout false",
            {"model.name": "cnn_pfl", "model.dropout": False},
        ),
        (
            "--algorithm.up.fraction 0.1 --algorithm.up.name topk --algorithm.name fedavg",
            {
                "algorithm.name": "fedavg",
                "algorithm.up.name": "topk",
                "algorithm.up.fraction": 0.1,
            },
        ),
        ("--local.learning-rate 1e-2", {"local.learning_rate": 0.01}),
        (
            "--local.optimizer sgd --local.optimizer-args momentum=0.9",
            {"local.optimizer": "sgd", "local.optimizer_args": {"momentum": 0.9}},
        ),
        (
            "--local.optimizer sgd --local.optimizer-args momentum=0.9 nesterov=true",
            {
                "local.optimizer": "sgd",
                "local.optimizer_args": {"momentum": 0.9, "nesterov": True},
            },
        ),
        ("--execution.client-axis map", {"execution.client_axis": "map"}),
    ],
)
def test_options_are_the_fields_of_the_config(simulation, words, changes):
    assert main(["run", "--out", "x", *words.split()]) == 0
    ((config, _),) = simulation.calls
    assert config == replace(ExperimentConfig(out="x"), changes)


def test_options_override_the_file(simulation):
    changes = {
        "rounds": 9,
        "local.optimizer": "sgd",
        "local.optimizer_args": {"momentum": 0.9},
        "partition.name": "dirichlet",
        "partition.alpha": 0.1,
    }
    in_file = replace(ExperimentConfig(out="x"), changes)
    Path("exp.yaml").write_text(to_yaml(in_file))
    assert main(["run", "--config", "exp.yaml"]) == 0
    assert main(["run", "--rounds", "5", "--config=exp.yaml", "--partition.alpha", "0.5"]) == 0
    assert main(["run", "--config", "exp.yaml", "--local.optimizer-args", "nesterov=1"]) == 0
    configs = [config for config, _ in simulation.calls]
    assert configs[0] == in_file
    assert configs[1] == replace(in_file, {"rounds": 5, "partition.alpha": 0.5})
    assert configs[2].local.optimizer_args == {"nesterov": 1.0}


def test_flags(simulation, capsys):
    assert main(["run", "--overwrite", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert simulation.calls[0][1] is True
    assert simulation.resume is False
    assert "round 1/1" not in out
    assert "75.00 %" in out


def test_a_run_goes_on_by_its_folder_alone(simulation, tmp_path, capsys):
    first = replace(ExperimentConfig(), {"rounds": 3, "algorithm.num_clusters": 8, "out": "first"})
    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(first))
    assert main(["run", "--resume", "moved", "--rounds", "5"]) == 0
    assert simulation.resume is True
    config, overwrite = simulation.calls[0]
    assert config == replace(first, {"rounds": 5, "out": "moved"})
    assert overwrite is False
    assert main(["run", "--resume", "moved", "--config", "moved/config.yaml"]) == 2
    assert "cannot be used with --resume" in capsys.readouterr().err
    assert main(["run", "--resume", "moved", "--out", "other"]) == 2
    assert "out: cannot be used with --resume" in capsys.readouterr().err
    assert main(["run", "--resume", "moved", "--overwrite"]) == 2
    assert "overwrite: has no use with --resume" in capsys.readouterr().err
    assert main(["run", "--resume", "elsewhere"]) == 2
    assert "'elsewhere' is not the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_that_ends_a_run_is_told_by_the_exit_code(simulation, name, code):
    simulation.status, simulation.signal = "interrupted", name
    assert main(["run"]) == code


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run --rounds 0", "rounds: 0 cannot be used"),
        ("run --schedule.server-period 0", "schedule.server_period: 0 cannot be used"),
        ("run --local.learning-rate=-1", "local.learning_rate: -1 cannot be used"),
        ("run --algorithm.name fedcod", "Did you mean 'fedcode'?"),
        (
            "run --algorithm.num-clusters 8 --algorithm.name fedavg",
            "algorithm.num_clusters: '8' has no use with algorithm.name fedavg, which has ag",
        ),
        ("run --algorithm.num-cluster 3", "Did you mean algorithm.num_clusters?"),
        ("run --rounds sixty", "rounds: 'sixty' cannot be used; it must be a whole number"),
        ("run --rounds 3 4", "rounds: has 2 values"),
        ("run --rounds", "rounds: has no value"),
        ("run --merge mean", "Did you mean algorithm.merge?"),
        ("run --execution.plan best", "execution.plan: unknown name 'best'. Known: auto, probe"),
        ("run --local.optimizer-args momentum", "write name=value, such as momentum=0.9"),
        ("run --config", "config: has no value"),
        ("run stray", "'stray' is no option"),
        ("run --quiet perhaps", "quiet: 'perhaps' cannot be used"),
        ("run --overwrit", "Did you mean --overwrite?"),
        ("bench --repeats x", "repeats: 'x' cannot be used; it must be a whole number"),
        ("advise --floor x", "floor: 'x' cannot be used; it must be a number"),
        ("advise --minimise byte", "minimise: unknown name 'byte'. Did you mean 'bytes'?"),
        ("sweep --axis seed=0,1 --axis sead=1", "Did you mean seed?"),
        ("run --clients-per-round 11", "partition.num_clients, which is 10"),
        ("run --config nope.yaml", "nope.yaml: cannot be read"),
        ("run --config bad.yaml", "bad.yaml: rounds: 'sixty' cannot be used"),
        ("run --config bad.yaml --rounds 3", "bad.yaml: rounds: 'sixty' cannot be used"),
        ("rum", "Did you mean 'run'?"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(simulation, capsys, words, message):
    Path("bad.yaml").write_text("rounds: sixty")
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fedcode: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert simulation.calls == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--sed 3", "--sed"),
        ("", "usage: fedcode"),
    ],
)
def test_options_that_do_not_parse_exit_with_2(simulation, capsys, words, message):
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert message in out + err
    assert "Traceback" not in out + err
    assert simulation.calls == []


@pytest.mark.parametrize("error", [DataError("a.npz: is missing"), ConfigError("out: is taken")])
def test_errors_of_the_run(simulation, capsys, error):
    simulation.error = error
    assert main(["run"]) == 2
    assert capsys.readouterr().err == f"fedcode: error: {error}\n"
    assert main(["run", "--debug"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith(f"fedcode: error: {error}\n")


def test_a_run_that_diverges(simulation, capsys):
    simulation.status = "diverged"
    assert main(["run", "--out", "x"]) == 1
    out, err = capsys.readouterr()
    assert "diverged after 1 round" in out
    assert err == (
        "fedcode: the run diverged: its loss is not finite; the results so far are in x\n"
    )


def test_a_run_that_is_interrupted(simulation, capsys):
    simulation.status = "interrupted"
    assert main(["run", "--out", "x"]) == 130
    out, err = capsys.readouterr()
    assert "interrupted after 1 round" in out
    assert err == "fedcode: interrupted; the results so far are in x\n"


def test_ctrl_c_before_the_first_round(simulation, capsys):
    simulation.error = KeyboardInterrupt()
    assert main(["run"]) == 130
    assert capsys.readouterr().err == "fedcode: interrupted\n"


def test_other_errors_are_not_hidden(simulation):
    simulation.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["run"])


CHOICES = [
    (section, name)
    for section, family in ExperimentConfig._sections.items()
    for name in getattr(family, "members", ())
]
UP = [("algorithm.up", name) for name in UpConfig.members]


@pytest.mark.parametrize(("section", "name"), CHOICES + UP)
def test_help_lists_the_settings_of_a_choice_and_no_others(
    section, name, simulation, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")  # in one column
    first = {"algorithm.name": "fedavg"} if section == "algorithm.up" else {}
    if name == "table":
        first = {"network.table": "clients.csv"}
    if name == "scaffold":
        first = {"local.optimizer": "sgd"}
    chosen = {**first, f"{section}.name": name}
    words = [word for n, value in chosen.items() for word in (f"--{n}", value)]
    assert main(["run", *words, "--help"]) == 0
    out = " ".join(word for word in capsys.readouterr().out.split() if word != "│")
    names = setting_names(replace(ExperimentConfig(), chosen))
    for setting in names:
        shown = re.search(rf"--{re.escape(setting.replace('_', '-'))} (.*?)\(default: ", out)
        assert shown, f"{setting} is not shown"
        assert len(shown[1].split()) > 2, f"{setting} has no help text"
    listed = {word[2:].replace("-", "_") for word in re.findall(r"--[a-z]+\.[a-z0-9.-]+", out)}
    assert {word for word in listed if word.startswith(section)} == {
        setting for setting in names if setting.startswith(f"{section}.")
    }
    assert "--experiment" not in out
    assert simulation.calls == []


def test_help_shows_the_values_of_the_file(simulation, capsys):
    Path("exp.yaml").write_text("rounds: 1234")
    assert main(["run", "--config", "exp.yaml", "--help"]) == 0
    assert "(default: 1234)" in capsys.readouterr().out


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert "run one experiment" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fedcode_jax {fedcode_jax.__version__}\n"


def test_help_does_not_wait_for_jax():
    code = (
        "import sys; from fedcode_jax.cli import main; code = main(['run', '--help']);"
        "sys.exit(code or 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_any_command_in_good_order(name, code, monkeypatch, capsys):
    number, tidied = getattr(signal, name), []
    before = signal.getsignal(number)

    def command(arguments):
        try:
            signal.raise_signal(number)
        finally:
            tidied.append(True)

    monkeypatch.setitem(COMMANDS, "data", ("", command))
    assert main(["data"]) == code
    assert tidied == [True]
    assert "fedcode: interrupted" in capsys.readouterr().err
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("words", [["run", "--help"], ["--help"], ["bench", "--help"]])
def test_nobody_need_read_all_that_is_printed(words):
    """As with ``| head -1``."""
    with subprocess.Popen(
        [*FEDCODE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdout.close()
        said = running.stderr.read().decode()
        code = running.wait(60)
    assert said == ""
    assert code in (0, 141)  # argparse keeps to itself that nobody reads


@pytest.mark.parametrize(("words", "level"), [([], "3"), (["--debug"], None)])
def test_the_compilers_own_warnings_are_for_who_debugs(monkeypatch, words, level):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")  # so that it is as before afterwards
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    assert main(["--version", *words]) == 0
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == level
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    main(["--version"])
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"
