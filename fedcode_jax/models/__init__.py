"""Models as flax modules, built on a convolution and a pooling whose lowering can be chosen."""

from fedcode_jax.models.cnn import cnn
from fedcode_jax.models.cnn_fedavg import cnn_fedavg
from fedcode_jax.models.cnn_pfl import cnn_pfl
from fedcode_jax.models.contract import check_fixed_norm, check_model
from fedcode_jax.models.conv import conv
from fedcode_jax.models.depthwise import depthwise
from fedcode_jax.models.fixing import fixed_norm
from fedcode_jax.models.lenet5 import lenet5
from fedcode_jax.models.mlp import mlp
from fedcode_jax.models.mobilenet_v2 import mobilenet_v2
from fedcode_jax.models.norm import BatchNorm
from fedcode_jax.models.own import adapted
from fedcode_jax.models.pool import global_avg_pool, max_pool
from fedcode_jax.models.registry import count_parameters, init, make, registry
from fedcode_jax.models.resnet import resnet, resnet8, resnet14, resnet20, resnet32, resnet56
from fedcode_jax.models.wide_resnet import wrn_16_4
from fedcode_jax.models.yamnet import yamnet

__all__ = [
    "BatchNorm",
    "adapted",
    "check_fixed_norm",
    "check_model",
    "cnn",
    "cnn_fedavg",
    "cnn_pfl",
    "conv",
    "count_parameters",
    "depthwise",
    "fixed_norm",
    "global_avg_pool",
    "init",
    "lenet5",
    "make",
    "max_pool",
    "mlp",
    "mobilenet_v2",
    "registry",
    "resnet",
    "resnet8",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet56",
    "wrn_16_4",
    "yamnet",
]
