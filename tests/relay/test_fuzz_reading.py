"""Damaged files end in our errors, or in a module that prints and reads back; nothing else, and without hanging."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gacer_tvm.errors import GacerError
from gacer_tvm.relay import astext, load_json, load_params, parse, structural_equal
from tests.relay.relay_mutations import mutate_bytes, mutate_json, mutate_text

# Most mutations go to the small files: they are read fastest, and hold every construct.
_TEXTS = [
    "conv_block_composite",
    "global_fn",
    "if_else",
    "infix",
    "list_adt",
    "scalars",
    "tuples",
    "mlp_anf",
    "qnn_conv",
]
_JSONS = ["conv_block", "global_fn", "if_else", "infix", "dyn_shape", "tuples", "scalars", "list_adt"]
_SECONDS = 10


@contextmanager
def _no_hang(what: str) -> Iterator[None]:
    """Fails where reading takes longer than any of these files can need."""

    def fail(*_: object) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _fixtures(shared: Path, names: list[str], suffix: str) -> list[str]:
    return [(shared / "relay" / "fixtures" / f"{name}{suffix}").read_text() for name in names]


@pytest.mark.parametrize("block", range(10))
def test_damaged_text(shared_dir: Path, block: int) -> None:
    texts = _fixtures(shared_dir, _TEXTS, ".relay")
    read = 0
    for seed in range(500 * block, 500 * (block + 1)):
        rng = random.Random(seed)
        text = mutate_text(rng.choice(texts), rng)
        with _no_hang(f"text of seed {seed}"):
            try:
                module = parse(text, missing_constants=rng.choice(["error", "params"]))
                printed = astext(module)
            except GacerError:
                continue
            read += 1
            assert structural_equal(parse(printed), module), f"seed {seed}"
    # The damage is not so great that nothing is ever read.
    assert read > 20


@pytest.mark.parametrize("block", range(6))
def test_damaged_json(shared_dir: Path, block: int) -> None:
    texts = _fixtures(shared_dir, _JSONS, ".json")
    read = 0
    for seed in range(500 * block, 500 * (block + 1)):
        rng = random.Random(seed)
        text = mutate_json(rng.choice(texts), rng)
        with _no_hang(f"JSON of seed {seed}"):
            try:
                astext(load_json(text))
            except GacerError:
                continue
            read += 1
    assert read > 20


@pytest.mark.parametrize("block", range(2))
def test_damaged_parameters(shared_dir: Path, block: int) -> None:
    data = (shared_dir / "relay" / "fixtures" / "mixed.params").read_bytes()
    read = 0
    for seed in range(1000 * block, 1000 * (block + 1)):
        rng = random.Random(seed)
        with _no_hang(f"parameters of seed {seed}"):
            try:
                load_params(mutate_bytes(data, rng))
            except GacerError:
                continue
            read += 1
    assert read > 20
