"""Data and oracles shared by the codebook tests."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier


@pytest.fixture(scope="session")
def trained():
    """The weights of a small network trained on the digits: f32[about 101k], kernels and biases."""
    images, labels = load_digits(return_X_y=True)
    net = MLPClassifier((512, 128), solver="adam", max_iter=4, random_state=0)
    for _ in range(4):
        net.partial_fit(images / 16, labels, classes=np.arange(10))
    return np.concatenate([a.ravel() for a in net.coefs_ + net.intercepts_]).astype(np.float32)
