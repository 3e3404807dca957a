"""What leaves a run: the deployed model as sections that say all by themselves."""

import jax
import numpy as np
import pytest
from rounds import CLIENTS, exchange, made, moved, weights

from fedcode_jax import wire
from fedcode_jax.algorithms import Portable, check_contract
from fedcode_jax.algorithms.portable import floats
from fedcode_jax.errors import ConfigError

OF_THEIR_OWN = ("fedcode", "fedcode, kept", "fedcode, blocks", "fedcompress", "fedbif", "fedpm")


def checked(algorithm):
    """Its portable model, which is the deployed one, also when it is read from its bytes."""
    server, store = algorithm.init(moved(weights()), CLIENTS)
    reported, deployed = algorithm.report(server, store)
    deployed = reported if deployed is None else deployed
    portable = algorithm.portable(server)
    sections = wire.decode(wire.encode(portable.message)).sections
    read = Portable(sections, portable.layout).weights
    for leaf, other in zip(jax.tree.leaves(deployed), jax.tree.leaves(read), strict=True):
        np.testing.assert_array_equal(leaf[0], other)
    return portable, read


@pytest.mark.parametrize("name", OF_THEIR_OWN)
def test_it_is_the_deployed_model_to_the_bit_and_needs_no_history(name):
    portable, read = checked(made(name))
    assert jax.tree.structure(read) == jax.tree.structure(weights())
    assert len(wire.encode(portable.message)) < len(wire.encode(floats(read).message))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["skip, conditional", "weight_clustering", "fedcode, entropy", "fedpm_mrc"]
)
def test_it_is_so_of_others_too(name):
    checked(made(name))


def test_floats_are_what_fedavg_sends():
    algorithm = made("fedavg")
    server, _ = algorithm.init(moved(weights()), CLIENTS)
    message, _ = algorithm.broadcast(server, exchange(True, True), jax.random.key(0))
    assert wire.encode(floats(server.weights).message) == wire.encode(message)


def test_a_wrong_one_is_refused_before_anything_compiles():
    algorithm = made("fedavg")
    wrong = algorithm._replace(portable=lambda server: floats(server.weights["params"]))
    with pytest.raises(ConfigError, match=r"algorithm\.portable"):
        check_contract(wrong, weights())
    right = algorithm._replace(portable=lambda server: floats(server.weights))
    check_contract(right, weights())
