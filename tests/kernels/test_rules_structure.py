"""Which rule makes which kernel; what happens when rules fail; how programs are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gacer_tvm._tvm import relax, s_tir, tir, tvm
from gacer_tvm.kernels import rules
from gacer_tvm.kernels.layout import prepare
from gacer_tvm.kernels.rules.base import NotApplicable
from gacer_tvm.kernels.rules.nest import segments
from gacer_tvm.kernels.rules.phases import phases
from gacer_tvm.kernels.rules.program import parse, unparse

from .rule_tools import TARGET, drawn, kernels, module, run

op = relax.op


def _one(mod: Any) -> Any:
    return next(iter(kernels(mod).values()))


def test_the_structure_decides_the_rule() -> None:
    assert rules.schedule(_one(module([(4, 100)], lambda x: op.nn.softmax(x, -1))), TARGET).rule == "rows"
    assert rules.schedule(_one(module([(4, 100)], lambda x: op.nn.relu(x))), TARGET).rule == "tiled"
    product = _one(module([(4, 100), (100, 30)], lambda x, y: op.matmul(x, y)))
    assert rules.schedule(product, TARGET).rule == "tiled"
    # Reductions of pairs are none of the forms that are emitted anew.
    assert rules.schedule(_one(module([(4, 100)], lambda x: op.argmax(x, 1))), TARGET).rule == "plain"


def test_loops_of_the_author_are_kept_and_no_rule_fails_on_them() -> None:
    func = _one(module([(3, 50, 40)], lambda x: op.cumsum(x, 1)))
    made = rules.schedule(func, TARGET)
    assert made.rule == "as written" and made.failures == ()
    arrays = drawn(func)
    np.testing.assert_allclose(run(made.func, arrays)[-1], np.cumsum(arrays[0], 1), rtol=1e-4, atol=1e-4)


def test_names_do_not_matter() -> None:
    func = _one(module([(4, 100)], lambda x: op.nn.softmax(x, -1))).with_attr("global_symbol", "conv2d_matmul")
    assert rules.schedule(func, TARGET).rule == "rows"


def test_a_scheduled_kernel_keeps_its_attributes_and_parameters() -> None:
    func = _one(module([(4, 100), (100, 30)], lambda x, y: op.matmul(x, y)))
    func = func.with_attr("global_symbol", "mine").with_attr("op_pattern", 4)
    made = rules.schedule(func, TARGET).func
    assert made.attrs["global_symbol"] == "mine" and made.attrs["op_pattern"] == 4
    assert made.attrs["tirx.is_scheduled"]
    assert [tuple(p.ty.shape) for p in made.params] == [tuple(p.ty.shape) for p in func.params]


def test_a_failing_rule_is_reported_and_the_next_one_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(func: Any, machine: Any) -> Any:
        raise ValueError("this rule has a bug\nwith details")

    def declines(func: Any, machine: Any) -> Any:
        raise NotApplicable("not mine")

    monkeypatch.setattr(rules, "_CPU_RULES", (("broken", broken), ("declines", declines), *rules._CPU_RULES))
    made = rules.schedule(_one(module([(4, 100)], lambda x: op.nn.relu(x))), TARGET)
    assert made.rule == "tiled"
    assert made.failures == (("broken", "ValueError: this rule has a bug"),)


def test_when_all_rules_fail_the_function_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(func: Any, machine: Any) -> Any:
        raise ValueError("no")

    monkeypatch.setattr(rules, "_CPU_RULES", (("broken", broken),))
    func = _one(module([(4, 100)], lambda x: op.nn.relu(x)))
    made = rules.schedule(func, TARGET)
    assert made.rule == "unscheduled" and made.func.same_as(func)


def test_large_kernels_are_parallel_and_small_ones_are_not() -> None:
    def loops(func: Any) -> list[int]:
        from gacer_tvm._tvm import tvm_ffi

        found: list[int] = []
        tvm_ffi.structural_walk(func.body, (tir.For, lambda n: found.append(int(n.kind))))
        return found

    large = rules.schedule(_one(module([(512, 512), (512, 512)], lambda x, y: op.matmul(x, y))), TARGET, 2)
    small = rules.schedule(_one(module([(4, 16), (16, 16)], lambda x, y: op.matmul(x, y))), TARGET, 2)
    assert int(tir.ForKind.PARALLEL) in loops(large.func)
    assert int(tir.ForKind.PARALLEL) not in loops(small.func)


@pytest.mark.parametrize(("extent", "lanes"), [(1, 16), (15, 16), (16, 16), (37, 16), (6, 8), (100, 4)])
def test_segments_cover_every_element_once(extent: int, lanes: int) -> None:
    covered = [o + i for o, n in segments(extent, lanes) for i in range(n)]
    assert covered == list(range(extent))
    assert all(n in (1, 2, 4, 8, 16) and n <= lanes for _, n in segments(extent, lanes))


def test_a_program_written_out_again_computes_the_same() -> None:
    mod = module([(2, 6, 9, 9), (8, 6, 3, 3)], lambda x, w: op.nn.relu(op.nn.conv2d(x, w, padding=1)))
    for func in kernels(mod).values():
        again = tir.PrimFunc(list(func.params), unparse(parse(func)), func.ret_type, func.attrs)
        arrays = drawn(func)
        for a, b in zip(run(again, arrays), run(func, arrays)):
            np.testing.assert_array_equal(a, b)


def test_the_epilogue_belongs_to_the_reduction_and_padding_is_inlined() -> None:
    mod = module([(2, 6, 9, 9), (8, 6, 3, 3)], lambda x, w: op.nn.relu(op.nn.conv2d(x, w, padding=1)))
    (phase,) = phases(parse(_one(mod)))
    assert [a.extent for a in phase.axes] == [2, 8, 9, 9]
    assert [a.extent for a in phase.reduce] == [6, 3, 3]
    assert phase.combine == "sum"


def test_a_gate_is_computed_once_and_not_for_every_pixel() -> None:
    def make(x: Any, w: Any, y: Any) -> Any:
        return op.multiply(y, op.sigmoid(op.nn.conv2d(x, w)))

    mod = module([(1, 6, 1, 1), (8, 6, 1, 1), (1, 8, 9, 9)], make)
    first, second = phases(parse(_one(mod)))
    assert [a.extent for a in first.axes] == [1, 8, 1, 1] and first.reduce
    assert [a.extent for a in second.axes] == [1, 8, 9, 9] and not second.reduce
    assert "sigmoid" in str(first.stores[0][1]) and "sigmoid" not in str(second.stores[0][1])


def test_functions_of_another_form_are_refused() -> None:
    func = _one(module([(4, 100)], lambda x: op.nn.relu(x)))
    sch = s_tir.Schedule(func)
    (loop, *_) = sch.get_loops(sch.get_child_blocks(sch.get_sblock("root"))[0])
    sch.parallel(loop)
    with pytest.raises(NotApplicable):
        parse(sch.mod["main"])


def test_cuda_kernels_are_bound_and_say_by_which_rule() -> None:
    target = tvm.target.Target(
        {"kind": "cuda", "arch": "sm_90", "max_threads_per_block": 1024, "max_shared_memory_per_block": 49152},
        host="llvm",
    )
    mod = module([(4, 100, 64), (64, 30)], lambda x, y: op.nn.softmax(op.matmul(x, y), -1))
    made = {name: rules.schedule(func, target).rule for name, func in kernels(mod).items()}
    assert made.pop("matmul") == "gemm" and all(rule.startswith("dlight.") for rule in made.values()) and made


@pytest.mark.parametrize("operator", ["convolution", "product", "pool"])
def test_every_other_tiling_computes_the_same(operator: str) -> None:
    rng = np.random.default_rng(0)
    if operator == "convolution":
        w = rng.standard_normal((40, 3, 3, 3), dtype=np.float32)
        mod = module([(2, 3, 15, 15), w], lambda x, y: op.nn.relu(op.nn.conv2d(x, y, strides=2, padding=1)))
    elif operator == "product":
        mod = module([(37, 50), rng.standard_normal((50, 45), dtype=np.float32)], lambda x, y: op.nn.gelu(op.matmul(x, y)))
    else:
        mod = module([(1, 20, 14, 14)], lambda x: op.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1)))
    func = max(kernels(prepare(mod, TARGET)).values(), key=lambda f: rules.schedule(f, TARGET).rule == "tiled")
    texts = rules.tilings(func, TARGET, 2)
    assert len(texts) == len(set(texts)) > 1
    steps = rules.near(func, TARGET, 2, texts[0])
    assert len(steps) == len(set(steps)) > 5 and texts[0] not in steps
    arrays = drawn(func)
    truth = run(func, arrays)[-1]
    for text in dict.fromkeys([*texts, *steps]):
        np.testing.assert_allclose(run(rules.retiled(func, TARGET, 2, text), arrays)[-1], truth, rtol=1e-4, atol=1e-4)


def test_a_tiling_of_another_kernel_is_refused() -> None:
    func = _one(module([(4, 100), (100, 30)], lambda x, y: op.matmul(x, y)))
    for text in ("nonsense", "{}", rules.tilings(func, TARGET, 2)[0].replace('"vector": 1', '"vector": 5')):
        with pytest.raises(NotApplicable, match="tiling"):
            rules.retiled(func, TARGET, 2, text)
    assert rules.tilings(_one(module([(4, 100)], lambda x: op.nn.softmax(x, -1))), TARGET) == []


def test_results_of_one_block_do_not_share_variables() -> None:
    """A mean and a mean square are computed in one block; a program writes each as a block of its own."""
    program = parse(_one(module([(2, 6, 9), (6,), (6,)], lambda x, g, b: op.nn.instance_norm(x, g, b, 1, [2]))))
    sums = [s for s in program.stages if s.reduce]
    assert len(sums) == 2
    assert not {a.var for a in (*sums[0].axes, *sums[0].reduce)} & {a.var for a in (*sums[1].axes, *sums[1].reduce)}
