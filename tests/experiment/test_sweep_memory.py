"""What a sweep holds: no data set longer than it is used, and test sets cut for each model."""

import gc
import weakref

import jax
import pytest
from tiny_sweep import BASE

import fedcode_jax
from fedcode_jax.config import replace
from fedcode_jax.experiment import group_run, sweeping
from fedcode_jax.experiment.grouping import Shelf


def test_a_data_set_leaves_with_its_last_group(monkeypatch):
    held, alive = [], []
    blueprint, run_group = Shelf.blueprint, sweeping.run_group

    def noting(shelf, config):
        found = blueprint(shelf, config)
        if all(found.dataset is not each() for each in held):
            held.append(weakref.ref(found.dataset))
        return found

    def counting(group, *rest):
        gc.collect()
        sizes = {a.shape[0] for a in jax.live_arrays() if a.ndim and a.dtype == jax.numpy.float32}
        alive.append((sum(each() is not None for each in held), 61 in sizes, 67 in sizes))
        return run_group(group, *rest)

    monkeypatch.setattr(Shelf, "blueprint", noting)
    monkeypatch.setattr(sweeping, "run_group", counting)
    # The second group has the data of the first.
    axes = {("data.train_size", "local.batch_size"): [(61, 8), (61, 9), (67, 8)]}
    fedcode_jax.sweep(replace(BASE, {"rounds": 1}), axes)
    assert alive == [(2, False, False), (2, True, False), (1, False, False)]
    gc.collect()
    assert all(each() is None for each in held)
    assert not [a for a in jax.live_arrays() if a.ndim and a.shape[0] in (61, 67)]


def test_a_test_set_is_cut_for_each_model_and_shared_where_it_is_cut_alike(monkeypatch):
    cut, batches = [], iter([10, 10, 7])

    def noting(fleet, *_):
        cut.append(fleet.program.test.x)
        raise RuntimeError("that is enough")

    monkeypatch.setattr(group_run, "evaluation_batch", lambda *_: next(batches))
    monkeypatch.setattr(group_run, "run_crews", noting)
    fedcode_jax.sweep(BASE, {"local.batch_size": [8, 9, 10]})
    assert [x.shape[:2] for x in cut] == [(3, 10), (3, 10), (5, 6)]
    assert cut[0] is cut[1]


def test_estimates_are_of_each_groups_own_model(monkeypatch):
    asked, estimate = [], group_run.evaluation_batch

    def noting(model, weights, shape):
        asked.append(weights["params"]["head"]["kernel"].shape[0])
        return estimate(model, weights, shape)

    monkeypatch.setattr(group_run, "evaluation_batch", noting)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(group_run, "run_crews", stop)
    for hidden in (4, 5):
        with pytest.raises(KeyboardInterrupt):
            fedcode_jax.sweep(BASE, {"model.hidden": [[hidden]]})
    assert asked == [4, 5]
