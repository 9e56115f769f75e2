"""The losses of a tile of samples, and their gradients with respect to the logits."""

from __future__ import annotations

import math

import numpy as np

from l2o_env.models.kernels.tiles import TILE, jit


@jit
def _log_normaliser(buffers, logits, n, b):
    """Log of Σ exp of one sample's logits, from the largest on so that nothing overflows."""
    largest = buffers[logits + b]
    for o in range(1, n):
        largest = max(largest, buffers[logits + o * TILE + b])
    total = np.float32(0.0)
    for o in range(n):
        total += math.exp(buffers[logits + o * TILE + b] - largest)
    return largest + math.log(total)


@jit
def _silence(buffers, d_logits, n, count):
    """No gradient of the samples that only fill up the tile."""
    for o in range(n):
        for b in range(count, TILE):
            buffers[d_logits + o * TILE + b] = 0.0


@jit
def cross_entropy(buffers, logits, d_logits, n, labels, index, count, share):
    """Cross-entropy, summed over the samples; its gradient times ``share`` goes to ``d_logits``."""
    loss = 0.0
    for b in range(count):
        label, norm = labels[index[b]], _log_normaliser(buffers, logits, n, b)
        loss += norm - buffers[logits + label * TILE + b]
        for o in range(n):
            q = math.exp(buffers[logits + o * TILE + b] - norm)
            buffers[d_logits + o * TILE + b] = share * (q - (o == label))
    _silence(buffers, d_logits, n, count)
    return loss


@jit
def divergence(buffers, logits, d_logits, n, probs, index, count, share):
    """KL(probs || softmax(logits)), summed over the samples; its gradient times ``share`` goes to ``d_logits``."""
    loss = 0.0
    for b in range(count):
        norm, mass = _log_normaliser(buffers, logits, n, b), 0.0
        for o in range(n):
            p = probs[index[b], o]
            mass += p
            if p > 0:  # 0 log 0 = 0
                loss += p * (math.log(p) - (buffers[logits + o * TILE + b] - norm))
        for o in range(n):
            q = math.exp(buffers[logits + o * TILE + b] - norm)
            buffers[d_logits + o * TILE + b] = share * (mass * q - probs[index[b], o])
    _silence(buffers, d_logits, n, count)
    return loss
