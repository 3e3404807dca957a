import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedcode_jax.config import (
    AlgorithmConfig,
    DataConfig,
    ExecutionConfig,
    ExperimentConfig,
    LocalConfig,
    ModelConfig,
    NetworkConfig,
    PartitionConfig,
    ScheduleConfig,
    from_dict,
    from_yaml,
    load,
    replace,
    setting_names,
    to_dict,
    to_yaml,
    value_of,
)
from fedcode_jax.errors import ConfigError

# Every setting with a value of its own, so that a round trip cannot lean on a default.
CHANGED = {
    "seed": 7,
    "rounds": 12,
    "clients_per_round": 5,
    "eval_every": 3,
    "checkpoint_every": 6,
    "out": "runs/a: b # c",
    "data.name": "synthetic",
    "data.path": ["a.npz", "b.npz"],
    "data.dir": "sets",
    "data.num_classes": 4,
    "data.shape": [8, 8, 3],
    "data.train_size": 100,
    "data.test_size": 50,
    "data.features": "log_mel",
    "partition.name": "dirichlet",
    "partition.num_clients": 6,
    "partition.alpha": 0.1,
    "partition.classes_per_client": 3,
    "partition.min_size": 2,
    "model.name": "mobilenet_v2",
    "model.norm": "group",
    "model.width": 0.5,
    "local.optimizer": "sgd",
    "local.learning_rate": 1e-7,
    "local.epochs": 1,
    "local.batch_size": 8,
    "local.weight_decay": 0.5,
    "local.decay": "cosine",
    "local.augment": "time_shift+spec_augment",
    "local.fix_norm_after": 9,
    "local.optimizer_args": {"momentum": 0.9},
    "algorithm.name": "skip",
    "algorithm.num_clusters": 32,
    "algorithm.groups": "everything",
    "algorithm.merge": "rank_mean",
    "algorithm.coding": "adaptive",
    "algorithm.period": 4,
    "schedule.name": "budget",
    "schedule.start": 0,
    "schedule.server_period": 3,
    "schedule.client_period": 4,
    "schedule.alpha": 0.5,
    "schedule.measure": "sketch",
    "schedule.threshold": 0.25,
    "schedule.budget_mb": 7.5,
    "schedule.uplink": "in_time",
    "network.name": "flash",
    "network.uplink_mbit": 2.5,
    "network.downlink_mbit": 20.0,
    "network.round_trip": 0.0,
    "network.link_spread": 0.5,
    "network.link_jitter": 0.25,
    "network.samples_per_second": 100.0,
    "network.fit_seconds": 2.0,
    "network.speed_spread": 0.75,
    "network.dropout": 0.125,
    "network.loss": 0.0625,
    "network.deadline": 30.0,
    "execution.plan": "probe",
    "execution.chunk": 1,
    "execution.client_axis": "map",
    "execution.conv": "patches",
    "execution.devices": 1,
    "execution.precision": "bfloat16",
}
# These do not go with each other, nor with algorithm.merge as it is above.
ALONE = {"algorithm.block": 2, "algorithm.rate_weight": 0.01}

# These go with the algorithm fedavg, and each with its compressor.
COMPRESSED = {
    "algorithm.up.name": "codebook",
    "algorithm.up.num_clusters": 4,
    "algorithm.up.coding": "entropy",
    "algorithm.up.rate_weight": 0.1,
    "algorithm.up.error_feedback": "coded",
    "algorithm.down.name": "topk",
    "algorithm.down.fraction": 0.5,
}
MIRRORED = {
    "algorithm.up.name": "topk",
    "algorithm.up.fraction": 0.5,
    "algorithm.down.name": "codebook",
    "algorithm.down.num_clusters": 4,
    "algorithm.down.coding": "entropy",
    "algorithm.down.rate_weight": 0.1,
}


def test_defaults_are_the_documented_ones():
    config = ExperimentConfig()
    assert (config.seed, config.rounds, config.clients_per_round) == (0, 60, None)
    assert config.data == DataConfig("digits")
    assert config.partition == PartitionConfig("iid", 10, 0.5, 2, 1)
    assert config.model == ModelConfig("cnn", None)
    assert config.local == LocalConfig("adam", 1e-3, 4, 32, 0.0, "none", "none")
    assert config.algorithm == AlgorithmConfig("fedcode", 64, None, "union", "fixed", 5)
    assert config.schedule == ScheduleConfig("periodic", 2, 5, 2, 1e-3, "codebook", 0.1, 2.0, "all")
    links = ("mobile", None, None, 0.05, None, None)
    assert config.network == NetworkConfig(*links, None, 0.0, 0.0, 0.0, 0.0, None, None)
    assert config.execution == ExecutionConfig("auto", None, None, None, None, "float32")


def test_defaults_pass_their_own_checks():
    """Construction takes defaults as good; here each one goes through its check."""
    config = ExperimentConfig()
    for section in [config, *vars(config).values()]:
        if not dataclasses.is_dataclass(section):
            continue
        for name, (optional, check) in type(section)._checks.items():
            value = getattr(section, name)
            assert (value is None and optional) or check(name, value) == value


def test_making_a_config_of_defaults_imports_no_jax():
    code = (
        "import sys, fedcode_jax.config as c; c.ExperimentConfig(rounds=3);"
        "sys.exit('optax' in sys.modules or 'yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_round_trips():
    others = {*ALONE, *COMPRESSED, *MIRRORED, "network.table"}
    assert {*CHANGED, *others} == set(setting_names())
    config = replace(ExperimentConfig(), CHANGED)
    default = to_dict(ExperimentConfig())
    for name, value in CHANGED.items():
        section, _, last = name.rpartition(".")
        holder = to_dict(config)[section] if section else to_dict(config)
        assert holder[last] == value
        assert (default[section] if section else default)[last] != value
    assert from_dict(to_dict(config)) == config
    assert from_yaml(to_yaml(config)) == config
    assert from_yaml(to_yaml(ExperimentConfig())) == ExperimentConfig()
    assert hash(config) == hash(from_yaml(to_yaml(config)))


@pytest.mark.parametrize("changes", [COMPRESSED, MIRRORED])
def test_settings_of_compressors_round_trip(changes):
    config = replace(ExperimentConfig(), {"algorithm.name": "fedavg", **changes})
    for name, value in changes.items():
        assert value_of(to_dict(config), name) == value
        assert value_of(to_dict(ExperimentConfig()), name) != value
    assert from_dict(to_dict(config)) == config
    assert from_yaml(to_yaml(config)) == config
    assert hash(config) == hash(from_yaml(to_yaml(config)))


def test_a_mistake_in_a_section_of_a_section_is_named_in_full():
    with pytest.raises(ConfigError, match=r"^algorithm\.up: 'topk' .* such as algorithm\.up\.name"):
        from_dict({"algorithm": {"up": "topk"}})
    with pytest.raises(ConfigError, match=r"algorithm\.up\.fracton: .*algorithm\.up\.fraction"):
        from_dict({"algorithm": {"up": {"fracton": 0.1}}})


@pytest.mark.parametrize("name", list(ALONE))
def test_settings_that_stand_alone_round_trip(name):
    changes = {name: ALONE[name], "algorithm.coding": "conditional"}
    config = replace(ExperimentConfig(), changes)
    assert to_dict(config)["algorithm"][name.rpartition(".")[2]] == ALONE[name]
    assert from_yaml(to_yaml(config)) == config
    both = changes | ALONE
    with pytest.raises(ConfigError, match=r"algorithm\.rate_weight"):
        replace(ExperimentConfig(), both)


def test_a_table_of_clients_round_trips_with_its_name():
    config = replace(ExperimentConfig(), {"network.name": "table", "network.table": "clients.csv"})
    assert config.network.table == "clients.csv"
    assert from_yaml(to_yaml(config)) == config


def test_yaml_keeps_the_order_of_the_fields():
    lines = [line.strip().partition(":")[0] for line in to_yaml(ExperimentConfig()).splitlines()]
    assert lines[:4] == ["seed", "rounds", "clients_per_round", "eval_every"]
    assert lines[4:7] == ["checkpoint_every", "out", "data"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", True),
        ("seed", 1.0),
        ("rounds", 0),
        ("rounds", "sixty"),
        ("rounds", [1, 2]),
        ("rounds", None),
        ("clients_per_round", 0),
        ("eval_every", 0),
        ("out", ""),
        ("out", 3),
        ("data.path", []),
        ("data.path", [1]),
        ("data.num_classes", 0),
        ("data.shape", [0, 3]),
        ("data.shape", 8),
        ("data.train_size", 0),
        ("partition.num_clients", 0),
        ("partition.alpha", 0),
        ("partition.alpha", float("inf")),
        ("partition.alpha", True),
        ("partition.classes_per_client", 0),
        ("partition.min_size", -1),
        ("model.norm", "layer"),
        ("model.norm", 3),
        ("local.learning_rate", 0),
        ("local.learning_rate", float("nan")),
        ("local.learning_rate", "1e-3x"),
        ("local.epochs", 0),
        ("local.batch_size", 0),
        ("local.weight_decay", -0.1),
        ("local.decay", "linear"),
        ("local.optimizer", ["adam"]),
        ("local.optimizer_args", [0.9]),
        ("local.optimizer_args", {"momentum": "high"}),
        ("local.optimizer_args", {3: 0.9}),
        ("algorithm.num_clusters", 0),
        ("algorithm.num_clusters", 65537),
        ("algorithm.num_clusters", 64.0),
        ("algorithm.groups", "kernel=code"),
        ("algorithm.groups", 1),
        ("algorithm.merge", "mean"),
        ("algorithm.coding", ["fixed"]),
        ("algorithm.coding", "entropie"),
        ("algorithm.block", 0),
        ("algorithm.block", 257),
        ("algorithm.rate_weight", -1),
        ("algorithm.rate_weight", 0.1),
        ("algorithm.period", 0),
        ("schedule.start", -1),
        ("schedule.server_period", 0),
        ("schedule.client_period", 0),
        ("schedule.alpha", 0),
        ("schedule.measure", "weights"),
        ("schedule.threshold", 0),
        ("schedule.threshold", float("inf")),
        ("schedule.budget_mb", 0),
        ("schedule.uplink", "some"),
        ("schedule.uplink", "in_time"),
        ("network.uplink_mbit", 0),
        ("network.downlink_mbit", float("nan")),
        ("network.round_trip", -1),
        ("network.link_spread", -1),
        ("network.link_jitter", float("inf")),
        ("network.samples_per_second", 0),
        ("network.fit_seconds", -1),
        ("network.speed_spread", -1),
        ("network.dropout", 1),
        ("network.dropout", -0.1),
        ("network.loss", 1.5),
        ("network.deadline", 0),
        ("network.table", 3),
        ("network.table", "clients.csv"),
        ("execution.plan", "best"),
        ("execution.chunk", 0),
        ("execution.client_axis", "scan"),
        ("execution.conv", 1),
        ("execution.precision", "float16"),
    ],
)
def test_bad_values_name_the_setting(name, value):
    with pytest.raises(ConfigError) as caught:
        replace(ExperimentConfig(), {name: value})
    message = str(caught.value)
    assert message.startswith(name)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("data.name", "digit", "digits"),
        ("partition.name", "dirichelt", "dirichlet"),
        ("model.name", "resnet-20", "resnet20"),
        ("local.augment", "crop-flip", "crop_flip"),
        ("local.optimizer", "adm", "adam"),
        ("algorithm.name", "fedcod", "fedcode"),
        ("algorithm.groups", "kernel", "kernels"),
        ("schedule.name", "periodical", "periodic"),
        ("network.name", "moblie", "mobile"),
        ("execution.precision", "tf23", "tf32"),
    ],
)
def test_unknown_names_suggest_the_nearest(name, value, nearest):
    with pytest.raises(ConfigError, match=rf"^{name}.*Did you mean '{nearest}'\?"):
        replace(ExperimentConfig(), {name: value})


def test_values_take_their_normal_form():
    local = LocalConfig(learning_rate=1, epochs=np.int64(2), weight_decay=np.float32(0.5))
    assert type(local.learning_rate) is float
    assert type(local.epochs) is int
    assert type(local.weight_decay) is float
    assert DataConfig(path="a.npz").path == ("a.npz",)
    assert DataConfig(path=[Path("a.npz"), "b.npz"]).path == ("a.npz", "b.npz")
    assert DataConfig(shape=[8, 8]).shape == (8, 8)
    assert ExperimentConfig(out=Path("runs/x")).out == "runs/x"


def test_arguments_of_the_optimizer_are_checked_and_copied():
    arguments = {"momentum": 0.9}
    local = LocalConfig(optimizer="sgd", optimizer_args=arguments)
    arguments["momentum"] = 0.1
    assert local.optimizer_args == {"momentum": 0.9}
    with pytest.raises(ConfigError, match=r"^local\.optimizer_args.*momentun"):
        LocalConfig(optimizer="sgd", optimizer_args={"momentun": 0.9})


def test_a_section_must_be_a_section():
    with pytest.raises(ConfigError, match=r"^algorithm: .* must be of type AlgorithmConfig"):
        ExperimentConfig(algorithm={"num_clusters": 3})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^algorithm: 'fedavg' .* such as algorithm\.name"):
        from_dict({"algorithm": "fedavg"})
    assert from_dict({"algorithm": AlgorithmConfig(num_clusters=3)}).algorithm.num_clusters == 3
    assert from_dict({"algorithm": None}) == ExperimentConfig()


def test_more_clients_per_round_than_clients():
    with pytest.raises(ConfigError, match=r"^clients_per_round: 11 .*num_clients, which is 10"):
        ExperimentConfig(clients_per_round=11)
    by_user = PartitionConfig(name="by_user")
    assert ExperimentConfig(clients_per_round=11, partition=by_user).clients_per_round == 11


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("algorithm.num_cluster", "Did you mean algorithm.num_clusters?"),
        ("round", "Did you mean rounds?"),
        ("learning_rate", "Did you mean local.learning_rate?"),
        ("num_client", "Did you mean partition.num_clients?"),
        ("schedule.xyz", "Known: schedule.name, schedule.start"),
        ("nonsense.xyz", "Known: seed"),
        ("seed.x", "Did you mean seed?"),
    ],
)
def test_unknown_settings_suggest_the_nearest(name, hint):
    with pytest.raises(ConfigError) as caught:
        replace(ExperimentConfig(), {name: 1})
    assert str(caught.value).startswith(f"{name}: there is no such setting. {hint}")


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"schedule.name": "drift", "algorithm.name": "skip"}, "schedule.name"),
        ({"schedule.name": "drift", "algorithm.block": 2}, "schedule.measure"),
        ({"schedule.uplink": "in_time"}, "schedule.uplink"),
        ({"network.name": "table"}, "network.table"),
    ],
)
def test_settings_that_need_another_name_it(changes, setting):
    with pytest.raises(ConfigError, match=rf"^{setting}"):
        replace(ExperimentConfig(), changes)
    others = {
        "algorithm.name": "fedcode",
        "schedule.measure": "sketch",
        "network.deadline": 3.0,
        "network.name": "table",
        "network.table": "clients.csv",
    }
    assert replace(ExperimentConfig(), changes | others).network.table == "clients.csv"


def test_replace_checks_only_the_outcome():
    changes = {"clients_per_round": 20, "partition.num_clients": 20}
    config = replace(ExperimentConfig(), changes)
    assert config.clients_per_round == config.partition.num_clients == 20
    sgd = replace(config, {"local.optimizer": "sgd"})
    with_momentum = replace(sgd, {"local.optimizer_args.momentum": 0.5})
    assert with_momentum.local.optimizer_args == {"momentum": 0.5}
    assert sgd.local.optimizer_args == {}


def test_yaml_numbers_and_paths_as_people_write_them():
    config = from_yaml("{local: {learning_rate: 1e-3, weight_decay: 5E-4}, data: {path: a.npz}}")
    assert (config.local.learning_rate, config.local.weight_decay) == (1e-3, 5e-4)
    assert config.data.path == ("a.npz",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- 1\n- 2\n", "holds a list"),
        ("rounds", "holds a str"),
        ("rounds: sixty\n", "rounds: 'sixty'"),
        ("rounds: [1]\n", "rounds: [1]"),
        ("seed: 1\nrounds: [1\nout: x\n", ", line 3: not valid YAML"),
        ("seed: 1\nrounds: 2\nseed: 3\n", ", line 3: not valid YAML: 'seed' appears twice"),
        ("local:\n  epochs: 1\n  epochs: 1\n", ", line 3: not valid YAML: 'epochs' appears twice"),
        ("seed: !!python/object/apply:os.getcwd []\n", ", line 1: not valid YAML"),
        ("seed: \x00\n", "not valid YAML"),
        ("local: 3\n", "local: 3 cannot be used"),
        ("algorithm: {num_cluster: 3}\n", "Did you mean algorithm.num_clusters?"),
        ("3: 4\n", "3: there is no such setting"),
    ],
)
def test_bad_files_are_named(tmp_path, text, expected):
    file = tmp_path / "exp.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert expected in message
    assert "\n" not in message


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match=r"nope\.yaml: cannot be read \(No such file"):
        from_yaml(str(tmp_path / "nope.yaml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        load(tmp_path / "binary.yaml")


def test_the_versions_a_run_notes_are_read_past(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(ExperimentConfig(rounds=3)) + "versions: {jax: 0.6.0}\n")
    assert load(file) == from_yaml(file) == from_yaml(str(file)) == ExperimentConfig(rounds=3)
