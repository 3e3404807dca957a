"""What the deployed model loses between calibrations: learning is no loss."""

import numpy as np
import pytest

from fedcode_jax.advice.falls import calibrations, falls


def records(accuracies, calibrated):
    return [
        {"round": t, "deployed_accuracy": a, "uploaded_weights": 3 * (t in calibrated)}
        for t, a in enumerate(accuracies, 1)
    ]


def test_learning_is_no_loss():
    rising = records(np.linspace(0.1, 0.9, 11), {1, 6, 11})
    assert calibrations(rising) == [1, 6, 11]
    assert max(falls(rising)) < 0  # the largest less the smallest would be 0.8
    # Every round calibrates: there is nothing in between.
    assert falls(records([0.1, 0.5, 0.9], {1, 2, 3})) == []


def test_a_saw_tooth_is_what_it_loses():
    saw = records([0.9, 0.85, 0.8, 0.92, 0.88, 0.7, 0.95], {1, 4, 7})
    assert falls(saw) == pytest.approx([0.1, 0.22])
    # Of a calibration that is not evaluated, the first evaluation after it counts.
    assert falls(records([None, 0.85, 0.8, 0.9], {1, 4})) == pytest.approx([0.05])
    assert falls(records([0.9, None, None, 0.9], {1, 4})) == []
    # A round in which no weights arrived is none.
    assert falls(records([0.9, 0.8, 0.7, 0.6], {1})) == []
