"""What codebooks are held against: errors in float64, and the exact optimum."""

import kmeans1d
import numpy as np


def sse(values, centers, weights=None):
    """The squared error in float64, every value going to its nearest center."""
    v, c = np.asarray(values, np.float64), np.sort(np.asarray(centers, np.float64))
    near = c[np.searchsorted((c[1:] + c[:-1]) / 2, v)]
    return np.sum((v - near) ** 2 * (1 if weights is None else np.asarray(weights, np.float64)))


def optimum(values, num_clusters):
    """The least squared error of any codebook of K centers."""
    values = np.asarray(values, np.float64)
    return sse(values, kmeans1d.cluster(values, num_clusters).centroids)
