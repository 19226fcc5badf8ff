"""Gathering and scattering against numpy and torch."""

from __future__ import annotations

import numpy as np
import torch

from gacer_tvm import relay
from tests.relay.running import check, variables

RNG = np.random.RandomState(3)
DATA = RNG.randn(4, 5, 3).astype("float32")


def test_take() -> None:
    indices = np.array([[0, 4], [2, 1]], "int32")
    wild = np.array([-1, 7, 2, -8], "int32")
    batched = RNG.randint(0, 5, (4, 2)).astype("int32")
    x, i, w, b = variables(x=DATA, i=indices, w=wild, b=batched)
    cases = {
        "axis": (relay.take(x, i, axis=1), np.take(DATA, indices, 1)),
        "negative axis": (relay.take(x, relay.const([2, 0]), axis=-1), DATA[..., [2, 0]]),
        "flat": (relay.take(x, i), DATA.reshape(-1)[indices]),
        "scalar": (relay.take(x, relay.const(2), axis=0), DATA[2]),
        "clip": (relay.take(x, w, axis=1), np.take(DATA, np.clip(wild, 0, 4), 1)),
        "wrap": (relay.take(x, w, axis=1, mode="wrap"), np.take(DATA, wild, 1, mode="wrap")),
        "fast": (relay.take(x, i, axis=1, mode="fast"), np.take(DATA, indices, 1)),
        "batch_dims": (relay.take(x, b, axis=1, batch_dims=1), np.stack([row[at] for row, at in zip(DATA, batched)])),
        "int64": (relay.take(x, relay.cast(i, "int64"), axis=0, mode="clip"), np.take(DATA, np.clip(indices, 0, 3), 0)),
    }
    check(cases, {"x": DATA, "i": indices, "w": wild, "b": batched})


def test_gather() -> None:
    along = RNG.randint(0, 5, (4, 2, 3)).astype("int64")
    places = np.array([[0, 3, 1], [4, 0, 2]], "int32")
    grouped = RNG.randint(0, 3, (1, 4, 5, 2)).astype("int32")
    x, a, p, g = variables(x=DATA, a=along, p=places, g=grouped)
    want = np.stack([[DATA[n, m, grouped[0, n, m]] for m in range(5)] for n in range(4)])
    cases = {
        "gather": (relay.gather(x, 1, a), torch.gather(torch.from_numpy(DATA), 1, torch.from_numpy(along)).numpy()),
        "gather_nd": (relay.gather_nd(x, p), DATA[places[0], places[1]]),
        "batched": (relay.gather_nd(x, g, batch_dims=2), want),
        "adv_index": (
            relay.adv_index([x, relay.const([[0], [3]]), relay.const([1, 4])]),
            DATA[np.array([[0], [3]]), np.array([1, 4])],
        ),
        "unravel_index": (
            relay.unravel_index(relay.const([5, 13, 2]), relay.const([4, 5])),
            np.array(np.unravel_index([5, 13, 2], (4, 5)), "int32"),
        ),
    }
    check(cases, {"x": DATA, "a": along, "p": places, "g": grouped})


def test_scatter() -> None:
    along = np.stack([RNG.permutation(5)[:2] for _ in range(4)]).astype("int64")[:, :, None].repeat(3, 2)
    updates = RNG.randn(4, 2, 3).astype("float32")
    x, a, u = variables(x=DATA, a=along, u=updates)
    data, at, new = torch.from_numpy(DATA), torch.from_numpy(along), torch.from_numpy(updates)
    added = data.scatter_add(1, at, new).numpy()
    cases = {
        "scatter": (relay.scatter(x, a, u, axis=1), data.scatter(1, at, new).numpy()),
        "scatter_add": (relay.scatter_add(x, a, u, axis=1), added),
        "update": (relay.scatter_elements(x, a, u, axis=1), data.scatter(1, at, new).numpy()),
        "add": (relay.scatter_elements(x, a, u, axis=-2, reduction="add"), added),
        "mul": (
            relay.scatter_elements(x, a, u, axis=1, reduction="mul"),
            data.scatter_reduce(1, at, new, "prod").numpy(),
        ),
        "max": (
            relay.scatter_elements(x, a, u, axis=1, reduction="max"),
            data.scatter_reduce(1, at, new, "amax").numpy(),
        ),
        "min": (
            relay.scatter_elements(x, a, u, axis=1, reduction="min"),
            data.scatter_reduce(1, at, new, "amin").numpy(),
        ),
    }
    check(cases, {"x": DATA, "a": along, "u": updates})


def test_scatter_nd() -> None:
    places = np.array([[0, 3, 1], [4, 0, 2]], "int32")
    updates = RNG.randn(3, 3).astype("float32")
    x, p, u = variables(x=DATA, p=places, u=updates)
    replaced, added = DATA.copy(), DATA.copy()
    replaced[places[0], places[1]] = updates
    np.add.at(added, (places[0], places[1]), updates)
    cases = {
        "update": (relay.scatter_nd(x, p, u), replaced),
        "add": (relay.scatter_nd(x, p, u, mode="add"), added),
    }
    check(cases, {"x": DATA, "p": places, "u": updates})


def test_sparse_to_dense() -> None:
    places = np.array([[0, 1], [3, 2]], "int32")
    values = np.array([7.0, 8.0], "float32")
    i, v = variables(i=places, v=values)
    want = np.full((4, 3), -1, "float32")
    want[places[:, 0], places[:, 1]] = values
    cases = {"dense": (relay.sparse_to_dense(i, (4, 3), v, relay.const(-1.0)), want)}
    check(cases, {"i": places, "v": values})
