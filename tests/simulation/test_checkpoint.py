"""Checkpoints by themselves: any state comes back, and what is damaged is told."""

import errno
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedcode_jax.errors import CheckpointError
from fedcode_jax.simulation import checkpoint
from fedcode_jax.simulation.checkpoint import folder, shards
from fedcode_jax.simulation.state import State


def state_of(number, width=3):
    """A state with arrays of every kind that algorithms keep."""
    server = {
        "weights": jnp.arange(2 * width, dtype=jnp.float32).reshape(2, width) / number,
        "half": jnp.arange(width).astype(jnp.bfloat16),
        "codes": jnp.arange(width, dtype=jnp.uint8),
        "nothing": jnp.zeros((0, 4)),
        "flag": jnp.array(True),
        "nan": jnp.array([jnp.nan, -0.0]),
    }
    return State(jnp.int32(number), server, {}, jnp.uint32([2**32 - 1]), None)


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(first).dtype == np.asarray(second).dtype
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes()


def test_a_state_comes_back_to_the_bit(tmp_path):
    state = state_of(7)
    path = checkpoint.save(tmp_path, state, {"data": "abc"})
    assert path.name == "round_000007"
    found, manifest = checkpoint.latest(tmp_path)
    assert (found, manifest.round, manifest.origin) == (path, 7, {"data": "abc"})
    same(checkpoint.restore(path, state_of(1)), state)
    same(checkpoint.read(path, jax.eval_shape(lambda: state_of(1))), state)
    assert [leaf["name"] for leaf in manifest.leaves][:2] == [".round", ".server['codes']"]


def test_the_last_ones_are_kept(tmp_path):
    for number in (1, 2, 3, 10):
        checkpoint.save(tmp_path, state_of(number), keep=2)
    assert list(checkpoint.rounds(tmp_path)) == [3, 10]
    checkpoint.save(tmp_path, state_of(11))
    assert list(checkpoint.rounds(tmp_path)) == [3, 10, 11]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"round_{number:06d}" for number in (3, 10, 11)
    }


def test_a_round_that_is_saved_again_takes_the_place_of_the_first(tmp_path):
    checkpoint.save(tmp_path, state_of(2), {"data": "old"})
    path = checkpoint.save(tmp_path, state_of(2), {"data": "new"})
    assert checkpoint.load(path).origin == {"data": "new"}
    assert [each.name for each in tmp_path.iterdir()] == ["round_000002"]


@pytest.mark.parametrize("step", ["_write", "_take_place"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, step):
    before = checkpoint.save(tmp_path, state_of(1))

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder, step, full)
    with pytest.raises(CheckpointError, match=r"round_000002: cannot be written \(No space left"):
        checkpoint.save(tmp_path, state_of(2), keep=1)
    monkeypatch.undo()
    assert checkpoint.latest(tmp_path)[0] == before
    checkpoint.save(tmp_path, state_of(2))
    assert list(checkpoint.rounds(tmp_path)) == [1, 2]


def test_a_damaged_one_is_passed_over_for_the_one_before_and_told(tmp_path, caplog):
    before = checkpoint.save(tmp_path, state_of(1))
    last = checkpoint.save(tmp_path, state_of(2))
    (last / "part_000.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING, "fedcode_jax"):
        assert checkpoint.latest(tmp_path)[0] == before
    assert (
        "round_000002: part_000.safetensors is damaged; going on from round_000001" in caplog.text
    )
    (before / checkpoint.MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"damaged; .*manifest.json cannot be read.*anew"):
        checkpoint.latest(tmp_path)


def test_there_may_be_none(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint; start the run anew"):
        checkpoint.latest(tmp_path / "nowhere")


def test_another_experiment_is_refused_with_the_difference(tmp_path):
    path = checkpoint.save(tmp_path, state_of(1))
    with pytest.raises(CheckpointError, match=r"has \.server\['codes'\] uint8\[3\], .*uint8\[4\]"):
        checkpoint.restore(path, state_of(1, width=4))
    longer = state_of(1)._replace(known={"a": jnp.zeros(1)})
    with pytest.raises(CheckpointError, match="does not fit this experiment"):
        checkpoint.read(path, longer)


def test_another_origin_is_refused_with_every_difference(tmp_path):
    there = {"config": {"seed": 0, "rounds": 4}, "data": "a", "versions": {"jax": "1"}}
    here = {"config": {"seed": 1}, "data": "a", "versions": {"jax": "2"}}
    checkpoint.check_origin(tmp_path, there, dict(there))
    with pytest.raises(CheckpointError) as told:
        checkpoint.check_origin(tmp_path, there, here)
    for text in (
        "config.seed was 0 and is 1",
        "config.rounds was 4 and is 'not set'",
        "versions.jax was '1' and is '2'",
    ):
        assert text in str(told.value)
    assert "data was" not in str(told.value)


def test_another_format_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, state_of(1))
    manifest = checkpoint.load(path)
    newer = checkpoint.Manifest(1, {}, manifest.leaves, manifest.files, format=99)
    (path / checkpoint.MANIFEST).write_bytes(newer.encoded())
    with pytest.raises(CheckpointError, match="is of format 99, and this version reads 1"):
        checkpoint.latest(tmp_path)


def test_parts_of_several_processes_are_put_together():
    """Each half of an array in a file of its own, as two processes write them."""
    state = [jnp.arange(12.0).reshape(4, 3)]
    (leaf,) = state
    files = []
    for place in ([[0, 2], [0, 3]], [[2, 4], [0, 3]]):
        from safetensors.numpy import save

        part = np.asarray(leaf[slice(*place[0])])
        files.append(save({"0000.0": part}, {"places": json.dumps({"0000.0": place})}))
    leaves = [{"shape": [4, 3], "dtype": "float32"}]
    (found,) = shards.decoded(files, leaves)
    np.testing.assert_array_equal(found, leaf)
    with pytest.raises(ValueError, match="parts of arrays are missing"):
        shards.decoded(files[:1], leaves)
