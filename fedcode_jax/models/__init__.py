"""Models as flax modules, built on a convolution and a pooling whose lowering can be chosen."""

from fedcode_jax.models.cnn import cnn
from fedcode_jax.models.cnn_pfl import cnn_pfl
from fedcode_jax.models.conv import conv
from fedcode_jax.models.mlp import mlp
from fedcode_jax.models.pool import global_avg_pool, max_pool
from fedcode_jax.models.registry import count_parameters, init, make, registry
from fedcode_jax.models.resnet import resnet20

__all__ = [
    "cnn",
    "cnn_pfl",
    "conv",
    "count_parameters",
    "global_avg_pool",
    "init",
    "make",
    "max_pool",
    "mlp",
    "registry",
    "resnet20",
]
