"""fedcode_jax: a vectorised simulator for communication-efficient federated learning."""

__version__ = "0.1.0"
