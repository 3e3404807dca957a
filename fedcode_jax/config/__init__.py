"""The experiment as data: checked dataclasses, YAML in and out, dotted overrides.

The settings of each choice are a dataclass: ``config.algorithms.FedAvg``,
``config.schedules.Paired``, ``config.models.Mlp`` and so on.
"""

from fedcode_jax.config import (
    aggregation,
    algorithms,
    datasets,
    models,
    network,
    partitions,
    presets,
    schedules,
)
from fedcode_jax.config.aggregation import AggregationConfig
from fedcode_jax.config.algorithms import AlgorithmConfig
from fedcode_jax.config.changes import replace
from fedcode_jax.config.compressors import DownConfig, UpConfig
from fedcode_jax.config.datasets import DataConfig
from fedcode_jax.config.faults import FaultsConfig
from fedcode_jax.config.files import flattened, from_dict, from_yaml, load, plain, to_dict, to_yaml
from fedcode_jax.config.known import all_setting_names, setting_names
from fedcode_jax.config.models import ModelConfig
from fedcode_jax.config.network import NetworkConfig
from fedcode_jax.config.partitions import PartitionConfig
from fedcode_jax.config.privacy import PrivacyConfig
from fedcode_jax.config.recorded import Recorded, recorded
from fedcode_jax.config.schedules import ScheduleConfig
from fedcode_jax.config.schema import (
    ExecutionConfig,
    ExperimentConfig,
    check_hostile,
    check_schedule,
)
from fedcode_jax.config.section import unchecked
from fedcode_jax.config.server_steps import ServerConfig
from fedcode_jax.config.training import LocalConfig

__all__ = [
    "AggregationConfig",
    "AlgorithmConfig",
    "DataConfig",
    "DownConfig",
    "ExecutionConfig",
    "ExperimentConfig",
    "FaultsConfig",
    "LocalConfig",
    "ModelConfig",
    "NetworkConfig",
    "PartitionConfig",
    "PrivacyConfig",
    "Recorded",
    "ScheduleConfig",
    "ServerConfig",
    "UpConfig",
    "aggregation",
    "algorithms",
    "all_setting_names",
    "check_hostile",
    "check_schedule",
    "datasets",
    "flattened",
    "from_dict",
    "from_yaml",
    "load",
    "models",
    "network",
    "partitions",
    "plain",
    "presets",
    "recorded",
    "replace",
    "schedules",
    "setting_names",
    "to_dict",
    "to_yaml",
    "unchecked",
]
