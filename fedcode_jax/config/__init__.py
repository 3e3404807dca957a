"""The experiment as data: checked dataclasses, YAML in and out, dotted overrides."""

from fedcode_jax.config.communication import AlgorithmConfig, NetworkConfig, ScheduleConfig
from fedcode_jax.config.files import (
    from_dict,
    from_yaml,
    load,
    plain,
    replace,
    setting_names,
    to_dict,
    to_yaml,
    value_of,
)
from fedcode_jax.config.learning import DataConfig, LocalConfig, ModelConfig, PartitionConfig
from fedcode_jax.config.schema import ExecutionConfig, ExperimentConfig
from fedcode_jax.config.section import unchecked

__all__ = [
    "AlgorithmConfig",
    "DataConfig",
    "ExecutionConfig",
    "ExperimentConfig",
    "LocalConfig",
    "ModelConfig",
    "NetworkConfig",
    "PartitionConfig",
    "ScheduleConfig",
    "from_dict",
    "from_yaml",
    "load",
    "plain",
    "replace",
    "setting_names",
    "to_dict",
    "to_yaml",
    "unchecked",
    "value_of",
]
