"""Peers without iterations: popularity, item-kNN, EASE. X is (listeners, items) float32."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def popularity(train: Matrix, seen: Matrix) -> Matrix:
    """Return how many listeners have each item, the same for everybody."""
    counts = (train > 0).sum(axis=0).astype(np.float32)
    return np.broadcast_to(counts, seen.shape).copy()


def item_knn(
    train: Matrix, seen: Matrix, *, shrink: float, power: float, neighbours: int
) -> Matrix:
    """Return seen @ S, S_ij = x_i.x_j / (|x_i|^(2 power) |x_j|^(2 - 2 power) + shrink).

    Each column keeps its largest `neighbours` entries; 0 keeps all.
    """
    gram: Matrix = train.T @ train
    square: Matrix = np.maximum(np.diag(gram), 1e-6).copy()
    scale = square[:, None] ** power * square[None] ** (1 - power) + shrink
    similarity: Matrix = (gram / scale).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    if neighbours and neighbours < len(similarity):
        least = np.partition(similarity, -neighbours, axis=0)[-neighbours]
        similarity[similarity < least] = 0
    result: Matrix = seen @ similarity
    return result


def ease(train: Matrix, seen: Matrix, *, penalty: float) -> Matrix:
    """Return EASE's scores (Steck 2019), exactly.

    B = I - P diag(1 / diag P) with P = (X'X + penalty I)^-1. Where listeners are fewer than items,
    Woodbury's identity gives P = (I - X'(penalty I + XX')^-1 X) / penalty.
    """
    x: NDArray[np.float64] = train.astype(np.float64)
    y: NDArray[np.float64] = seen.astype(np.float64)
    if len(x) < x.shape[1]:
        kernel = x @ x.T
        kernel[np.diag_indices(len(x))] += penalty
        solved = np.linalg.solve(kernel, x)
        diagonal = (1 - (x * solved).sum(axis=0)) / penalty
        product = (y - (y @ x.T) @ solved) / penalty
    else:
        gram = x.T @ x
        gram[np.diag_indices(len(gram))] += penalty
        inverse = np.linalg.inv(gram)
        diagonal, product = np.diag(inverse), y @ inverse
    scores: Matrix = (y - product / diagonal).astype(np.float32)
    return scores
