"""Damaged modules that can still be read are converted or refused: no other error, no crash, no endless work."""

from __future__ import annotations

import random
import re
import time
import warnings
from pathlib import Path

import pytest

from gacer_tvm import relay
from gacer_tvm.errors import GacerError, RelayError
from gacer_tvm.relay import evaluate
from tests.relay.relay_mutations import mutate_json, mutate_text

# Many operators with many attributes, as a target for wrong numbers.
TEXT = """#[version = "0.0.5"]
def @main(%x: Tensor[(2, 3, 8, 8), float32], %w: Tensor[(4, 3, 3, 3), float32], %i: Tensor[(2, 2), int32]) {
  %0 = nn.conv2d(%x, %w, strides=[2, 2], padding=[1, 1, 1, 1], channels=4, kernel_size=[3, 3]);
  %1 = reshape(%0, newshape=[0, -1, 4, 4]);
  %2 = strided_slice(%1, begin=[0, 1], end=[2, 4], strides=[1, 2]);
  %3 = split(%1, indices_or_sections=2, axis=2);
  %4 = concatenate((%3.0, %3.1), axis=1);
  %5 = take(%4, %i, axis=1);
  %6 = nn.pad(%x, 0f, pad_width=[[0, 0], [0, 0], [1, 1], [2, 2]]);
  %7 = image.resize2d(%6, size=[4, 5], roi=[0f, 0f, 0f, 0f], method="cubic");
  %8 = topk(%7, k=2, axis=1);
  %9 = layout_transform(%x, src_layout="NCHW", dst_layout="NHWC");
  %10 = one_hot(%i, 1f, 0f, depth=4, dtype="float32");
  %11 = arange(0, 7, 2, start=0, stop=7, step=2, dtype="int32");
  %12 = zeros(shape=[2, 2], dtype="int32");
  %13 = nn.avg_pool2d(%x, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0]);
  %14 = nn.upsampling(%13, scale_h=2f, scale_w=2f);
  %15 = tile(%i, reps=[2, 3]);
  %16 = transpose(%9, axes=[3, 0, 1, 2]);
  %17 = sum(%16, axis=[1], keepdims=True);
  %18 = stack((%i, %12), axis=1);
  (%2, %5, %8, %10, %11, %14, %15, %17, %18)
}
"""
NUMBERS = (
    "-1", "0", "1", "2", "3", "7", "65536", "-2147483648", "2147483647", "4611686018427387904", "-4", "-3", "-2",
    "1e30f", "nanf", "inff", "None", '"x"', "True",
)  # fmt: skip


def _convert(module: relay.IRModule) -> str:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            relay.to_relax(module)
            outcome = "converted"
        except GacerError:
            outcome = "refused"
    assert time.perf_counter() - start < 20
    return outcome


def test_wrong_numbers() -> None:
    assert _convert(relay.parse(TEXT)) == "converted"
    rng = random.Random(0)
    outcomes = []
    places = [match.span() for match in re.finditer(r"(?<![%\w.@])-?\d+f?\b", TEXT)]
    for _ in range(150):
        start, end = rng.choice(places)
        try:
            module = relay.parse(TEXT[:start] + rng.choice(NUMBERS) + TEXT[end:])
        except GacerError:
            continue
        outcomes.append(_convert(module))
    assert outcomes.count("converted") > 10
    assert outcomes.count("refused") > 25


def test_damaged_fixtures(shared_dir: Path) -> None:
    folder = shared_dir / "relay" / "fixtures"
    texts = [path.read_text() for path in sorted(folder.glob("*.relay")) if not path.name.startswith("model_")]
    graphs = [path.read_text() for path in sorted(folder.glob("*.json")) if not path.name.endswith("meta.json")]
    rng = random.Random(1)
    outcomes = []
    for _ in range(500):
        try:
            if rng.random() < 0.5:
                module = relay.parse(mutate_text(rng.choice(texts), rng))
            else:
                module = relay.load_json(mutate_json(rng.choice(graphs), rng))
        except GacerError:
            continue
        outcomes.append(_convert(module))
    assert outcomes.count("converted") > 20
    assert outcomes.count("refused") > 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def @main(%x: " + "(" * 5000 + "float32" + ",)" * 5000 + ") { %x }", "nest more than"),
        ("def @main(%x: float32) { " + "(" * 5000 + "%x" + ",)" * 5000 + " }", "nest more than"),
        ("def @main(%x: Tensor[(4611686018427387904, 4), float32]) { %x }", "more elements than any memory"),
        ('def @main(%x: float32) { cast(%x, dtype="float320") }', "no element type"),
        ("def @main(%x: Tensor[(2), float32]) { tile(%x, reps=[4611686018427387904, 9]) }", "more elements"),
    ],
)
def test_hostile_modules_are_refused(text: str, message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(RelayError, match=message):
        relay.to_relax(relay.parse(text))
    assert time.perf_counter() - start < 5


def test_exponential_inlining_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_MAX_CALLS", 2_000)
    functions = ["def @f0(%x: float32) { add(%x, %x) }"]
    functions += [f"def @f{i}(%x: float32) {{ @f{i - 1}(@f{i - 1}(%x)) }}" for i in range(1, 40)]
    module = relay.parse("\n".join(functions) + "\ndef @main(%x: float32) { @f39(%x) }")
    with pytest.raises(RelayError, match="unrolls to more than"):
        relay.infer_types(module)


def test_deep_expressions_convert() -> None:
    calls = "def @main(%x: float32) { let %f = fn (%a: float32) { %a }; " + "%f(" * 5000 + "%x" + ")" * 5000 + " }"
    branches = "def @main(%x: float32, %c: bool) { " + "if (%c) {" * 1000 + "%x" + "} else { %x }" * 1000 + " }"
    chain = "\n".join(f"def @f{i}(%x: float32) {{ @f{i + 1}(%x) }}" for i in range(3000))
    chain += "\ndef @f3000(%x: float32) { %x }\ndef @main(%x: float32) { @f0(%x) }"
    for text in (calls, branches, chain):
        assert _convert(relay.parse(text)) == "converted"
