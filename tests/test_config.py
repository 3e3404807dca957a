import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax import config as configs
from fedcode_jax.config import (
    AggregationConfig,
    AlgorithmConfig,
    DataConfig,
    DownConfig,
    ExecutionConfig,
    ExperimentConfig,
    LocalConfig,
    ModelConfig,
    NetworkConfig,
    PartitionConfig,
    ScheduleConfig,
    ServerConfig,
    UpConfig,
    all_setting_names,
    flattened,
    from_dict,
    from_yaml,
    load,
    recorded,
    replace,
    setting_names,
    to_dict,
    to_yaml,
)
from fedcode_jax.errors import ConfigError

FAMILIES = {
    "data": DataConfig,
    "partition": PartitionConfig,
    "model": ModelConfig,
    "algorithm": AlgorithmConfig,
    "schedule": ScheduleConfig,
    "network": NetworkConfig,
}
WAYS = {
    "up": UpConfig,
    "down": DownConfig,
    "server": ServerConfig,
    "aggregation": AggregationConfig,
}
MEMBERS = [
    *((section, name) for section, family in FAMILIES.items() for name in family.members),
    *((f"algorithm.{way}", name) for way, family in WAYS.items() for name in family.members),
]

# A value of its own for every setting, so that a round trip cannot lean on a default.
CHANGED = {
    "seed": 7,
    "rounds": 12,
    "clients_per_round": 5,
    "eval_every": 3,
    "checkpoint_every": 6,
    "checkpoint_seconds": 90.0,
    "checkpoint_keep": 3,
    "out": "runs/a: b # c",
    "metrics": ["top5"],
    "init": "runs/begun",
    "init_skip": ["*/head/*"],
    "evaluate_clients": True,
    "log": ["tensorboard", "wandb"],
    "path": ["a.npz", "b.npz"],
    "dir": "sets",
    "num_classes": 4,
    "layout": "channels_first",
    "shape": [8, 8, 3],
    "train_size": 100,
    "test_size": 50,
    "features": "log_mel",
    "train_part": 90,
    "sigma": 0.7,
    "shards_per_client": 3,
    "test_part": 40,
    "num_clients": 6,
    "alpha": 0.1,
    "classes_per_client": 3,
    "min_size": 2,
    "norm": "group",
    "width": 0.5,
    "widths": [8, 16],
    "hidden": [32, 16],
    "dropout": False,
    "remat": True,
    "rank": 4,
    "warm_start": False,
    "levels": 7,
    "reset": 3,
    "scale": 2.0,
    "samples": 4,
    "local.optimizer": "sgd",
    "local.learning_rate": 1e-7,
    "local.epochs": 1,
    "local.batch_size": 8,
    "local.weight_decay": 0.5,
    "local.decay": "cosine",
    "local.augment": "time_shift+spec_augment",
    "local.fix_norm_after": 9,
    "local.repeat_draws": True,
    "local.optimizer_args": {"momentum": 0.9, "nesterov": True},
    "num_clusters": 32,
    "groups": "everything",
    "merge": "rank_mean",
    "coding": "adaptive",
    "period": 4,
    "fraction": 0.5,
    "momentum": 0.5,
    "learning_rate": 0.5,
    "b1": 0.25,
    "b2": 0.75,
    "tau": 0.125,
    "proximal": 0.375,
    "clip": 2.0,
    "bucket": 64,
    "keep": 0.5,
    "insignificant": 0.5,
    "bits": 3,
    "algorithm.bits": 4,
    "share": 0.25,
    "bound": 3.0,
    "hostile": 2,
    "chosen": 4,
    "rho": 4.0,
    "phi": 0.25,
    "unbiased": False,
    "error_feedback": "coded",
    "start": 0,
    "server_period": 3,
    "client_period": 4,
    "measure": "sketch",
    "threshold": 0.25,
    "max_clusters": 40,
    "limit": 0.125,
    "patience": 2,
    "distil_steps": 3,
    "budget_mb": 7.5,
    "uplink_mbit": 2.5,
    "downlink_mbit": 20.0,
    "round_trip": 0.0,
    "link_spread": 0.5,
    "link_jitter": 0.25,
    "samples_per_second": 100.0,
    "fit_seconds": 2.0,
    "speed_spread": 0.75,
    "network.dropout": 0.125,
    "network.loss": 0.0625,
    "deadline": 30.0,
    "table": "clients.csv",
    "privacy.clip": 1.5,
    "privacy.noise_multiplier": 0.5,
    "privacy.noise": "distributed",
    "privacy.delta": 1e-6,
    "vanish": 0.125,
    "late": 0.0625,
    "late_seconds": 2.5,
    "corrupt": 0.25,
    "not_finite": 0.5,
    "faults.hostile": 0.375,
    "restart": 0.03125,
    "screen": True,
    "execution.plan": "probe",
    "execution.chunk": 1,
    "execution.client_axis": "vmap",
    "execution.layout": "packed",
    "execution.conv": "patches",
    "execution.devices": 1,
    "execution.precision": "bfloat16",
    "execution.deterministic": True,
}
# These are set apart: they do not go with each other, or need another or a file of one's own.
ALONE = {"block": 2, "rate_weight": 0.01, "uplink": "in_time"}
ELSEWHERE = {"local.loss": "", "local.loss_args": {}}


def changed(section, name):
    """A config with this choice, and every setting of its section changed."""
    first = {"algorithm.name": "fedavg"} if section.startswith("algorithm.") else {}
    if name == "table":
        first = {"network.table": "clients.csv"}
    if name == "scaffold":
        first = {"local.optimizer": "sgd"}
    config = replace(ExperimentConfig(), {**first, f"{section}.name": name})
    names = [n for n in setting_names(config) if n.rpartition(".")[0] == section]
    changes = {}
    for setting in names:
        last = setting.rpartition(".")[2]
        if last not in ("name", *ALONE):
            changes[setting] = CHANGED.get(setting, CHANGED.get(last))
    if name == "digits":
        changes.pop("data.features")
    if name == "codebook":
        changes[f"{section}.coding"] = "entropy"
    if name == "cnn":
        changes["model.norm"] = "group"
    return changes, {**first, f"{section}.name": name, **changes}


def test_defaults_are_the_documented_ones():
    config = ExperimentConfig()
    assert (config.seed, config.rounds, config.clients_per_round) == (0, 60, None)
    assert config.data == configs.datasets.Digits()
    assert config.partition == configs.partitions.Iid(num_clients=10, min_size=1)
    assert config.model == configs.models.Cnn(norm="none", widths=(16, 32))
    assert config.local == LocalConfig("adam", 1e-3, 4, 32, 0.0, "none", "none")
    assert config.algorithm == configs.algorithms.FedCode(
        num_clusters=64, groups="kernels", merge="union", coding="fixed", block=1, rate_weight=0.0
    )
    assert config.schedule == configs.schedules.Periodic(
        start=2, server_period=5, client_period=2, uplink="all"
    )
    assert config.network == configs.network.Preset(name="mobile", round_trip=0.05, deadline=None)
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


@pytest.mark.parametrize(("section", "name"), MEMBERS)
def test_defaults_of_every_choice_pass_their_own_checks(section, name):
    family = WAYS.get(section.rpartition(".")[2]) or FAMILIES[section]
    member = family.member(name)
    for field in dataclasses.fields(member):
        optional, check = member._checks[field.name]
        value = name if field.name == "name" else field.default
        assert (value is None and optional) or check(field.name, value) == value


def test_making_a_config_of_defaults_imports_no_jax():
    code = (
        "import sys, fedcode_jax.config as c; c.ExperimentConfig(rounds=3);"
        "sys.exit('optax' in sys.modules or 'yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("section", "name"), MEMBERS)
def test_every_setting_of_every_choice_round_trips(section, name):
    changes, whole = changed(section, name)
    needed = {
        n: v
        for n, v in whole.items()
        if n.endswith("name") or n in ("network.table", "local.optimizer")
    }
    default = flattened(to_dict(replace(ExperimentConfig(), needed)))
    config = replace(ExperimentConfig(), whole)
    values = flattened(to_dict(config))
    for setting, value in changes.items():
        assert values[setting] == value
        assert default[setting] != value or setting == "network.table"
    assert from_dict(to_dict(config)) == config
    assert from_yaml(to_yaml(config)) == config
    assert hash(config) == hash(from_yaml(to_yaml(config)))
    assert recorded(to_dict(config)).values == values


def test_all_other_settings_round_trip():
    whole = {n: v for n, v in CHANGED.items() if n in setting_names(ExperimentConfig())}
    config = replace(ExperimentConfig(), whole)
    values = flattened(to_dict(config))
    assert all(values[name] == value for name, value in whole.items())
    assert from_yaml(to_yaml(config)) == config
    assert from_yaml(to_yaml(ExperimentConfig())) == ExperimentConfig()


def test_no_setting_is_left_out_of_these_tests():
    known = {*CHANGED, *ALONE, *ELSEWHERE, "name"}
    left = [n for n in all_setting_names() if n not in known and n.rpartition(".")[2] not in known]
    assert left == []


def test_settings_that_need_others_round_trip():
    for changes in (
        {"algorithm.block": 2, "algorithm.coding": "conditional"},
        {"algorithm.rate_weight": 0.01, "algorithm.coding": "entropy"},
        {"schedule.uplink": "in_time", "network.deadline": 3.0},
    ):
        config = replace(ExperimentConfig(), changes)
        assert from_yaml(to_yaml(config)) == config != ExperimentConfig()
    both = {"algorithm.block": 2, "algorithm.rate_weight": 0.01, "algorithm.coding": "entropy"}
    with pytest.raises(ConfigError, match=r"algorithm\.rate_weight"):
        replace(ExperimentConfig(), both)


@pytest.mark.parametrize(("section", "name"), MEMBERS)
def test_the_settings_of_a_choice_are_what_its_factory_takes(section, name):
    """Their names, and their defaults; so a dataclass and its part cannot drift apart."""
    if name == "none" or section == "network":
        return
    family = WAYS.get(section.rpartition(".")[2]) or FAMILIES[section]
    kwargs = {"table": "clients.csv"} if name == "table" else {}
    choice = family.member(name)(name=name, **kwargs)
    settings = {
        field.name: field.default
        for field in dataclasses.fields(choice)
        if field.name not in ("name", *WAYS, *choice.beside)
    }
    parameters = inspect.signature(choice.factory()).parameters
    assert set(settings) <= set(parameters)
    for setting, default in settings.items():
        own = setting in type(choice).__annotations__  # of a preset, on purpose
        if parameters[setting].default is not inspect.Parameter.empty and not (
            own and isinstance(choice, configs.presets.Preset)
        ):
            assert parameters[setting].default == default, setting
    left = set(parameters) - set(settings) - family.inputs - set(WAYS)
    assert left <= {"norm"}  # of models that have but one


def test_what_another_choice_has_is_refused_with_what_this_one_has():
    """Over all choices: no setting of another one is passed over in silence."""
    for section, family in FAMILIES.items():
        for name, member in family.members.items():
            own = {field.name for field in dataclasses.fields(member)}
            for other in family.members.values():
                for field in dataclasses.fields(other):
                    if field.name in own:
                        continue
                    value = CHANGED.get(field.name, ALONE.get(field.name, 3))
                    with pytest.raises(ConfigError) as caught:
                        from_dict({section: {"name": name, field.name: value}})
                    message = str(caught.value)
                    assert message.startswith(f"{section}.{field.name}: ")
                    assert f"{section}.name {name}, which has" in message
                    assert all(each in message for each in own - {"name"})


def test_a_mistake_in_a_section_of_a_section_is_named_in_full():
    fedavg = {"name": "fedavg"}
    with pytest.raises(ConfigError, match=r"^algorithm\.up: 'topk' .* such as algorithm\.up\.name"):
        from_dict({"algorithm": {**fedavg, "up": "topk"}})
    with pytest.raises(ConfigError, match=r"algorithm\.up\.fracton: .*algorithm\.up\.fraction"):
        from_dict({"algorithm": {**fedavg, "up": {"name": "topk", "fracton": 0.1}}})
    with pytest.raises(
        ConfigError, match=r"^algorithm\.up: .* no use with algorithm\.name fedcode"
    ):
        replace(ExperimentConfig(), {"algorithm.up.name": "topk"})


def test_a_table_of_clients_round_trips_with_its_name():
    config = replace(ExperimentConfig(), {"network.name": "table", "network.table": "clients.csv"})
    assert config.network.table == "clients.csv"
    assert from_yaml(to_yaml(config)) == config


def test_yaml_keeps_the_order_of_the_fields():
    lines = [line.strip().partition(":")[0] for line in to_yaml(ExperimentConfig()).splitlines()]
    assert lines[:4] == ["seed", "rounds", "clients_per_round", "eval_every"]
    assert lines[4:8] == ["checkpoint_every", "checkpoint_seconds", "checkpoint_keep", "out"]


CHOICE_OF = {
    "data.path": {"data.name": "npz"},
    "data.num_classes": {"data.name": "synthetic"},
    "data.shape": {"data.name": "synthetic"},
    "data.train_size": {"data.name": "synthetic"},
    "partition.alpha": {"partition.name": "dirichlet"},
    "partition.classes_per_client": {"partition.name": "by_class"},
    "model.hidden": {"model.name": "mlp"},
    "algorithm.period": {"algorithm.name": "fedavg_every"},
    "schedule.alpha": {"schedule.name": "step_size"},
    "schedule.measure": {"schedule.name": "drift"},
    "schedule.threshold": {"schedule.name": "drift"},
    "schedule.budget_mb": {"schedule.name": "budget"},
    "network.table": {"network.name": "table"},
    "algorithm.up.fraction": {"algorithm.name": "fedavg", "algorithm.up.name": "topk"},
    "algorithm.up.coding": {"algorithm.name": "fedavg", "algorithm.up.name": "codebook"},
    "algorithm.up.error_feedback": {"algorithm.name": "fedavg", "algorithm.up.name": "topk"},
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.hidden", [0]),
        ("model.widths", 3),
        ("algorithm.up.fraction", 0),
        ("algorithm.up.coding", "conditional"),
        ("algorithm.up.error_feedback", "float16"),
        ("local.optimizer_args", {"momentum": None}),
        ("metrics", 3),
        ("metrics", ["top5", "top5"]),
        ("evaluate_clients", 1),
        ("log", True),
        ("log", ["given Mine 0"]),
        ("log", ["wandb", "wandb"]),
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
        ("local.optimizer_args", {"momentum": [1]}),
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
        ("execution.plan", "best"),
        ("execution.chunk", 0),
        ("execution.client_axis", "scan"),
        ("execution.layout", "loose"),
        ("execution.conv", 1),
        ("execution.precision", "float16"),
    ],
)
def test_bad_values_name_the_setting(name, value):
    with pytest.raises(ConfigError) as caught:
        replace(ExperimentConfig(), {**CHOICE_OF.get(name, {}), name: value})
    message = str(caught.value)
    assert message.startswith(name)
    assert ".name" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("log", "tensorbord", "tensorboard"),
        ("log", ["wandb", "ml-flow"], "mlflow"),
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
    datasets = configs.datasets
    assert datasets.Npz(path="a.npz").path == ("a.npz",)
    assert datasets.Npz(path=[Path("a.npz"), "b.npz"]).path == ("a.npz", "b.npz")
    assert datasets.Synthetic(shape=[8, 8]).shape == (8, 8)
    assert ExperimentConfig(out=Path("runs/x")).out == "runs/x"


def test_arguments_of_the_optimizer_are_checked_and_copied():
    arguments = {"momentum": 0.9}
    local = LocalConfig(optimizer="sgd", optimizer_args=arguments)
    arguments["momentum"] = 0.1
    assert local.optimizer_args == {"momentum": 0.9}
    with pytest.raises(ConfigError, match=r"^local\.optimizer_args.*momentun"):
        LocalConfig(optimizer="sgd", optimizer_args={"momentun": 0.9})


def test_a_section_must_be_a_section():
    with pytest.raises(ConfigError, match=r"^algorithm: 3 cannot be used; .*algorithm\.name"):
        ExperimentConfig(algorithm=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^algorithm: 'fedavg' .* such as algorithm\.name"):
        from_dict({"algorithm": "fedavg"})
    three = configs.algorithms.FedCode(num_clusters=3)
    assert from_dict({"algorithm": three}).algorithm == three
    assert ExperimentConfig(algorithm={"num_clusters": 3}).algorithm == three  # type: ignore
    assert from_dict({"algorithm": None}) == ExperimentConfig()
    with pytest.raises(TypeError, match=r"AlgorithmConfig is one of several; make .*fedavg"):
        AlgorithmConfig()


def test_more_clients_per_round_than_clients():
    with pytest.raises(ConfigError, match=r"^clients_per_round: 11 .*num_clients, which is 10"):
        ExperimentConfig(clients_per_round=11)
    by_user = configs.partitions.ByUser()
    assert ExperimentConfig(clients_per_round=11, partition=by_user).clients_per_round == 11


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("algorithm.num_cluster", "Did you mean algorithm.num_clusters?"),
        ("round", "Did you mean rounds?"),
        ("learning_rate", "Did you mean local.learning_rate?"),
        ("num_client", "Did you mean partition.num_clients?"),
        ("schedule.xyz", "Known: schedule.name, schedule.uplink, schedule.start"),
        ("nonsense.xyz", "Known: seed"),
        ("seed.x", "Did you mean seed?"),
    ],
)
def test_unknown_settings_suggest_the_nearest(name, hint):
    with pytest.raises(ConfigError) as caught:
        replace(ExperimentConfig(), {name: 1})
    assert str(caught.value).startswith(f"{name}: there is no such setting. {hint}")


@pytest.mark.parametrize(
    ("changes", "setting", "mended"),
    [
        (
            {"schedule.name": "drift", "algorithm.name": "skip"},
            "schedule.name",
            {"algorithm.name": "fedcode"},
        ),
        (
            {"schedule.name": "drift", "algorithm.block": 2},
            "schedule.measure",
            {"schedule.measure": "sketch"},
        ),
        ({"schedule.uplink": "in_time"}, "schedule.uplink", {"network.deadline": 3.0}),
        ({"network.name": "table"}, "network.table", {"network.table": "clients.csv"}),
        (
            {"schedule.name": "budget", "algorithm.name": "fedavg"},
            "schedule.name",
            {"algorithm.name": "skip"},
        ),
    ],
)
def test_settings_that_need_another_name_it(changes, setting, mended):
    with pytest.raises(ConfigError, match=rf"^{setting}"):
        replace(ExperimentConfig(), changes)
    assert replace(ExperimentConfig(), changes | mended) != ExperimentConfig()


def test_a_changed_name_keeps_what_was_set_and_the_new_choice_has():
    """And it leaves defaults behind: those of the new choice are its own."""
    config = replace(
        ExperimentConfig(), {"algorithm.num_clusters": 32, "algorithm.merge": "rank_mean"}
    )
    skip = replace(config, {"algorithm.name": "skip"})
    assert skip.algorithm == configs.algorithms.Skip(num_clusters=32)
    fedavg = replace(config, {"algorithm.name": "fedavg"})
    assert fedavg.algorithm == configs.algorithms.FedAvg()
    three = {"algorithm.up.name": "codebook", "algorithm.up.error_feedback": "coded"}
    coded = replace(fedavg, three)
    assert replace(coded, {"algorithm.up.name": "topk"}).algorithm.up == UpConfig.member("topk")(
        error_feedback="coded"
    )
    whole = replace(config, {"algorithm": {"name": "skip"}})
    assert whole.algorithm == configs.algorithms.Skip()
    assert replace(config, {"algorithm": skip.algorithm}) == skip


@pytest.mark.parametrize(
    "value",
    [np.int64(3), np.array(3), np.uint8(3), jnp.int32(3), jnp.asarray(3)],
    ids=["int64", "array0", "uint8", "jax32", "jax"],
)
def test_numbers_of_numpy_and_jax_are_numbers(value):
    for name in ("rounds", "local.learning_rate", "algorithm.num_clusters", "network.deadline"):
        found = flattened(to_dict(replace(ExperimentConfig(), {name: value})))[name]
        assert found == 3
        assert type(found) in (int, float)
    assert ExperimentConfig(rounds=value).rounds == 3
    assert from_yaml(to_yaml(ExperimentConfig(rounds=value))).rounds == 3


def test_arrays_and_ranges_are_rows():
    for row in (np.array([8, 8]), jnp.array([8, 8]), range(8, 10), (np.int32(8), 9)):
        config = replace(ExperimentConfig(), {"model.name": "mlp", "model.hidden": row})
        assert config.model.hidden == tuple(int(each) for each in row)
    data = configs.datasets.Synthetic(shape=np.array([8, 8, 1]))
    assert data.shape == (8, 8, 1)
    pfl = replace(ExperimentConfig(), {"model.name": "cnn_pfl", "model.dropout": np.bool_(False)})
    assert pfl.model.dropout is False
    for bad in (np.array([3, 4]), np.array(0.5), np.array("x"), jnp.array([1.0])):
        with pytest.raises(ConfigError, match=r"^rounds: .* cannot be used"):
            ExperimentConfig(rounds=bad)


def test_replace_checks_only_the_outcome():
    changes = {"clients_per_round": 20, "partition.num_clients": 20}
    config = replace(ExperimentConfig(), changes)
    assert config.clients_per_round == config.partition.num_clients == 20
    sgd = replace(config, {"local.optimizer": "sgd"})
    with_momentum = replace(sgd, {"local.optimizer_args.momentum": 0.5})
    assert with_momentum.local.optimizer_args == {"momentum": 0.5}
    assert sgd.local.optimizer_args == {}


def test_yaml_numbers_and_paths_as_people_write_them():
    config = from_yaml(
        "{local: {learning_rate: 1e-3, weight_decay: 5E-4}, data: {name: npz, path: a.npz}}"
    )
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
        ("model.name: mlp\n", "model.name: in a file it stands in its section, model: {name"),
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


def test_a_rule_of_aggregation_needs_an_algorithm_that_averages_and_enough_clients():
    median = {"algorithm.aggregation.name": "median"}
    assert replace(ExperimentConfig(), median).algorithm.aggregation.name == "median"
    for name in ("local_only", "fedbif", "fedpm", "fedpm_mrc"):
        with pytest.raises(
            ConfigError, match=rf"^algorithm\.aggregation: .* no use with algorithm\.name {name}"
        ):
            replace(ExperimentConfig(), {"algorithm.name": name, **median})
    krum = {"algorithm.aggregation.name": "krum", "algorithm.aggregation.hostile": 2}
    assert replace(ExperimentConfig(), {**krum, "clients_per_round": 7})
    with pytest.raises(ConfigError, match=r"^algorithm\.aggregation\.hostile: 2 .* has 6"):
        replace(ExperimentConfig(), {**krum, "clients_per_round": 6})


PRIVATE = {"privacy.clip": 1.0}


@pytest.mark.parametrize(
    "name", sorted(set(AlgorithmConfig.members) - {"fedavg", "weight_clustering"})
)
def test_privacy_is_refused_where_it_would_not_hold(name):
    member = AlgorithmConfig.members[name]
    sgd = {"local.optimizer": "sgd", "algorithm.name": name, **PRIVATE}
    central, distributed = sgd, {**sgd, "privacy.noise": "distributed"}
    if issubclass(member, configs.presets.Preset):
        assert replace(ExperimentConfig(), central)
        assert replace(ExperimentConfig(), distributed)
        return
    with pytest.raises(ConfigError, match=rf"^privacy\.noise: 'central' .* {name}, "):
        replace(ExperimentConfig(), central)
    if name in ("fedcode", "skip"):
        assert replace(ExperimentConfig(), distributed)
        return
    with pytest.raises(ConfigError, match=rf"^privacy\.noise: 'distributed' .* {name}, "):
        replace(ExperimentConfig(), distributed)


def test_what_does_not_go_with_privacy_is_refused():
    fedavg, fedcode = {"algorithm.name": "fedavg"}, {"privacy.noise": "distributed"}
    for changes, setting in (
        ({"privacy.noise_multiplier": 2.0}, "privacy.noise_multiplier"),
        ({"privacy.delta": 1e-6}, "privacy.delta"),
        ({**PRIVATE, **fedavg, "algorithm.aggregation.name": "krum"}, "algorithm.aggregation.name"),
        ({**PRIVATE, **fedcode, "schedule.name": "drift"}, "schedule.name"),
        ({**PRIVATE, **fedavg, "privacy.noise_multiplier": 0.0}, "privacy.noise_multiplier"),
    ):
        with pytest.raises(ConfigError, match=rf"^{setting}: "):
            replace(ExperimentConfig(), changes)


def test_a_rule_of_aggregation_may_be_ones_own():
    own = {
        "algorithm.name": "fedavg",
        "algorithm.aggregation.name": "fedcode_jax.aggregation:trimmed_mean",
        "algorithm.aggregation.share": 0.3,
    }
    config = replace(ExperimentConfig(), own)
    assert from_yaml(to_yaml(config)) == config
    rule = config.algorithm.arguments()["aggregation"]
    moved = rule.combine((jnp.array([[0.0], [1.0], [2.0], [90.0]]),), jnp.ones(4), None)
    assert moved[0].tolist() == [1.5]


@pytest.mark.parametrize("text", ["seed: 010", "rounds: 1:30", "local: {learning_rate: 1:30.5}"])
def test_numbers_of_yaml_1_1_that_nobody_means_are_refused(text):
    with pytest.raises(ConfigError, match="cannot be used; it must be a"):
        from_yaml(text)


@pytest.mark.parametrize("text", ["2026-11-28", "010", "1:30", "0b11", "1e3", "0x1f", ".inf", "no"])
def test_texts_like_numbers_and_dates_are_texts(text):
    written = to_yaml(replace(ExperimentConfig(), {"out": text}))
    assert from_yaml(written).out == text
    if text in ("2026-11-28", "010", "1:30"):
        assert from_yaml(f"out: {text}").out == text


def test_a_file_that_holds_itself_or_grows_without_end_is_refused():
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    for text in ("metrics: &m [*m]", "\n".join(lines)):
        with pytest.raises(ConfigError, match="values, or an alias to what it is part of"):
            from_yaml(text)
