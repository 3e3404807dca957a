"""The rotation in plain NumPy, from the words of FORMAT.md alone."""

import numpy as np

WORD = 2**32 - 1


def mixed(h):
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & WORD
    h = ((h ^ (h >> 15)) * 0x846CA68B) & WORD
    return h ^ (h >> 16)


def draw(seed, j):
    return mixed((mixed(int(seed)) + 0x9E3779B9 * j) & WORD)


def shape(n):
    """B and m."""
    widths = [4**i for i in range(16) if 4**i <= n]
    B = next((width for width in widths if width**2 >= n), widths[-1])
    return B, n // B


def hadamard(M):
    """H M / sqrt(B) in float32, step by step."""
    B = len(M)
    for _ in range((B.bit_length() - 1) // 2):
        a, b, c, d = (M[i * B // 4 : (i + 1) * B // 4] for i in range(4))
        new = np.zeros_like(M)
        new[0::4], new[1::4] = (a + c) + (b + d), (a + c) - (b + d)
        new[2::4], new[3::4] = (a - c) + (b - d), (a - c) - (b - d)
        M = new / np.float32(2)
    return M


def signs(n, seed, p):
    return np.float32([-1 if draw(seed, p * n + i) >> 31 else 1 for i in range(n)])


def forward(x, seed):
    """v of x."""
    n = len(x)
    B, m = shape(n)
    for p in range(4):
        x = x * signs(n, seed, p)
        M = hadamard(x[: B * m].reshape(B, m))
        x = np.concatenate([x[B * m :], M.T.reshape(-1)])
    return x


def places(k, n, seed):
    """Where v_0 .. v_(k-1) are."""
    s = 0 if k == n else draw(seed, 4 * n) % n
    return (s + np.arange(k)) % n


def back(values, seed, n):
    """x of v_0 .. v_(k-1)."""
    if n == 0:
        return np.zeros(0, np.float32)
    values = np.asarray(values, np.float32)[:n]
    x = np.zeros(n, np.float32)
    x[places(len(values), n, seed)] = values
    B, m = shape(n)
    for p in reversed(range(4)):
        left = n - B * m
        M = hadamard(x[left:].reshape(m, B).T)
        x = np.concatenate([M.reshape(-1), x[:left]]) * signs(n, seed, p)
    return x
