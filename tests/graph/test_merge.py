"""Tenants merged into one graph and one module, and the graph found again in the module."""

from __future__ import annotations

import numpy as np
import pytest

from gacer_tvm._tvm import relax, tir, tvm
from gacer_tvm.errors import GraphError
from gacer_tvm.frontend import Tenant
from gacer_tvm.graph.build import build_graph
from gacer_tvm.graph.merged_module import symbols_of
from gacer_tvm.graph.read import read_graph
from gacer_tvm.transform.rewrite import with_bindings

from ..models import CPU, branches, build, const, convnet, inputs_for, op, run_alone, run_main


def merged(**modules):
    return build_graph(
        [Tenant.from_relax(m, name=name.replace("_", " ")) for name, m in modules.items()], CPU
    )


@pytest.fixture(scope="module")
def pair():
    return merged(det=convnet(seed=1), cls_b=branches(seed=2))


def test_operators_and_buffers_of_a_known_model():
    graph = merged(det=convnet())
    names = [o.name for o in graph.operators]
    assert names == [
        "det/0_fused_conv2d_add_relu",
        "det/1_max_pool2d",
        "det/2_matmul",
        "det/3_softmax",
    ]
    assert [o.predecessors for o in graph.operators] == [(), (0,), (1,), (2,)]
    assert graph.successors == ((1,), (2,), (3,), ())
    # The reshape is a view: no operator, and the bytes are those of the pooling's result.
    pooled, flat = graph.operators[1].writes[0], graph.operators[2].reads[0]
    assert pooled != flat and graph.buffers[flat].root == pooled
    assert graph.buffers[flat].shape == (4, 96)
    kinds = [graph.buffers[b].kind for o in graph.operators for b in o.writes]
    assert kinds == ["intermediate", "intermediate", "intermediate", "output"]
    info = graph.tenants[0]
    assert (info.name, info.batch, info.first, info.count) == ("det", 4, 0, 4)
    assert list(info.inputs) == ["image"] and graph.buffers[info.inputs["image"]].shape == (4, 3, 8, 8)
    assert graph.buffers[info.outputs["output0"]].shape == (4, 5)
    assert [o.chunking.items for o in graph.operators] == [4, 4, 4, 4]


def test_work_is_counted_by_hand():
    graph = merged(det=convnet())
    conv, pool, dense, _ = graph.operators
    positions = 4 * 6 * 8 * 8
    assert conv.work.flops == positions * (2 * 3 * 3 * 3 + 1 + 1)
    # The padded copy of the input inside the kernel is no traffic of its own: input and output once.
    assert conv.work.batched_bytes == 4 * (4 * 3 * 8 * 8 + positions)
    assert conv.work.fixed_bytes == 4 * (6 * 3 * 3 * 3 + 6)
    assert pool.work.flops == 4 * 6 * 4 * 4 * 4
    assert dense.work.flops == 2 * 4 * 96 * 5
    assert dense.work.fixed_bytes == 4 * 96 * 5
    assert conv.work.at(1, 4) == (conv.work.flops / 4, conv.work.batched_bytes / 4 + conv.work.fixed_bytes)


def test_an_embedding_moves_the_rows_that_it_picks():
    table = const(1000, 16)
    module = build(lambda x: op.take(table, x, axis=0), (4, 3), dtype="int64")
    (take,) = merged(enc=module).operators
    assert take.work.fixed_bytes == 4 * 3 * 16 * 4
    assert take.chunking.rows == (0, 1, 1)


def test_the_merged_module_computes_what_the_tenants_compute_alone(pair):
    inputs = inputs_for(pair)
    expected = run_alone(convnet(seed=1), inputs["det"]) + run_alone(branches(seed=2), inputs["cls b"])
    found = run_main(pair.module, inputs)
    assert len(found) == len(expected) == 3
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


def test_names_carry_the_tenant(pair):
    names = {gv.name_hint for gv in pair.module.get_global_vars()}
    assert {"main", "det__softmax", "det__max_pool2d"} < names
    assert all(n == "main" or n.startswith(("det__", "cls_b__")) for n in names)
    assert [p.name for p in pair.module["main"].params] == ["det__image", "cls_b__features"]
    called = {o.kernel for o in pair.operators}
    assert called == names - {"main"}


def test_the_graph_is_found_again_in_its_module(pair):
    again = read_graph(pair.module)
    assert again.module is pair.module
    assert again.fingerprint == pair.fingerprint
    assert again.tenants == pair.tenants
    assert again.operators == pair.operators
    assert again.buffers == pair.buffers
    assert again.constants.keys() == pair.constants.keys()
    for index, value in pair.constants.items():
        np.testing.assert_array_equal(again.constants[index], value)
    without = read_graph(pair.module, values=False)
    assert without.fingerprint == pair.fingerprint
    assert without.constants == {}
    assert [o.work for o in without.operators] == [o.work for o in pair.operators]


def test_the_graph_survives_printing_and_parsing(pair):
    parsed = tvm.script.from_source(pair.module.script(show_meta=True))
    tvm.ir.assert_structural_equal(parsed, pair.module)
    assert read_graph(parsed).fingerprint == pair.fingerprint


def test_fingerprints_tell_graphs_apart_but_not_weights():
    def printed(**modules):
        return merged(**modules).fingerprint

    base = printed(a=convnet(seed=1), b=branches(seed=2))
    assert printed(a=convnet(seed=7), b=branches(seed=8)) == base
    assert printed(a=convnet(batch=2, seed=1), b=branches(seed=2)) != base
    assert printed(a=convnet(classes=6), b=branches(seed=2)) != base
    assert printed(b=branches(seed=2), a=convnet(seed=1)) != base
    assert printed(a=convnet(seed=1), c=branches(seed=2)) != base
    assert printed(a=convnet(seed=1)) != base


def test_equal_constants_are_one_buffer_whatever_the_fingerprint_says():
    twins = merged(a=convnet(seed=1), b=convnet(seed=1))
    strangers = merged(a=convnet(seed=1), b=convnet(seed=5))

    def count(graph):
        return sum(b.kind == "constant" for b in graph.buffers)

    assert count(twins) == 3 and count(strangers) == 6
    assert twins.fingerprint == strangers.fingerprint
    assert read_graph(twins.module).operators == twins.operators


def test_outputs_that_are_inputs_constants_or_repeated():
    weights = const(4, 3)

    def make(x):
        doubled = op.add(x, x)
        return [x, doubled, relax.TupleGetItem(relax.Tuple([doubled, x]), 0), weights]

    graph = merged(odd=build(make, (4, 3)))
    inputs = inputs_for(graph)
    x = inputs["odd"]["x0"]
    found = run_main(graph.module, inputs)
    for a, b in zip(found, [x, x + x, x + x, graph.constants[graph.tenants[0].outputs["output3"]]]):
        np.testing.assert_array_equal(a, b)
    kinds = [graph.buffers[b].kind for b in graph.tenants[0].outputs.values()]
    assert kinds == ["input", "output", "output", "constant"]
    assert read_graph(graph.module).tenants == graph.tenants


def test_views_may_stand_anywhere():
    """A reshape moved by another pass changes neither the fingerprint nor the numbers of buffers."""

    def early(x):
        base = op.nn.softmax(x, axis=1)
        return [op.exp(base), op.nn.softmax(op.reshape(base, (4, 3, 2)), axis=1)]

    graph = merged(only=build(early, (4, 6)))
    bindings = list(graph.module["main"].body.blocks[0].bindings)
    reshapes = [b for b in bindings if getattr(getattr(b.value, "op", None), "name", "") == "relax.reshape"]
    assert len(reshapes) == 1
    place = bindings.index(reshapes[0])
    writers = [n for n, b in enumerate(bindings) if any(b.var.same_as(a) for a in reshapes[0].value.args)]
    # Directly behind the tensor that it is a view of, instead of before its first use.
    moved = [b for b in bindings if b is not reshapes[0]]
    moved.insert(writers[0] + 1, reshapes[0])
    again = read_graph(with_bindings(graph.module, moved))
    assert place > writers[0] + 1, "it stands there already"
    assert (again.fingerprint, again.operators, again.buffers) == (graph.fingerprint, graph.operators, graph.buffers)


def test_symbols_are_identifiers_that_end_at_two_underscores():
    names = ["det", "det", "a b", "a_b", "a__b", "7", "", "_", "é-1"]
    symbols = symbols_of(names)
    assert len(set(symbols)) == len(names)
    assert all(s.isidentifier() and "__" not in s and not s.endswith("_") for s in symbols)


def test_tenants_whose_names_look_like_kernels_stay_apart():
    graph = build_graph(
        [Tenant.from_relax(branches(seed=n), name=name) for n, name in enumerate(["a", "a__b"])], CPU
    )
    inputs = inputs_for(graph)
    expected = run_alone(branches(seed=0), inputs["a"]) + run_alone(branches(seed=1), inputs["a__b"])
    for a, b in zip(run_main(graph.module, inputs), expected):
        np.testing.assert_array_equal(a, b)
    assert read_graph(graph.module).operators == graph.operators


def test_no_tenant_no_name_and_one_name_twice_are_refused():
    with pytest.raises(GraphError, match="no tenant given"):
        build_graph([], CPU)
    with pytest.raises(GraphError, match="has no name"):
        build_graph([Tenant.from_relax(convnet())], CPU)
    with pytest.raises(GraphError, match="two tenants are named 'a'"):
        build_graph([Tenant.from_relax(convnet(), name="a")] * 2, CPU)


def test_modules_that_are_not_merged_are_refused(pair):
    with pytest.raises(GraphError, match=r"no attribute 'gacer\.tenants'.*MergeTenants"):
        read_graph(convnet())
    described = [dict(e) for e in pair.module.attrs["gacer.tenants"]]
    described[0]["inputs"] = ["image", "another"]
    with pytest.raises(GraphError, match="main has 2 inputs and 3 outputs, expected 3 and 3"):
        read_graph(pair.module.with_attr("gacer.tenants", described))
    described = [dict(e) for e in pair.module.attrs["gacer.tenants"]]
    described[0]["name"] = "other"
    with pytest.raises(GraphError, match=r"calls det__\w+, which belongs to no tenant"):
        read_graph(pair.module.with_attr("gacer.tenants", described))
    lowered = relax.get_pipeline("default_build")(pair.module)
    with pytest.raises(GraphError):
        read_graph(lowered.with_attr("gacer.tenants", pair.module.attrs["gacer.tenants"]))


def test_kernels_of_merged_modules_are_prim_funcs(pair):
    for operator in pair.operators:
        func = pair.module[operator.kernel]
        assert isinstance(func, tir.PrimFunc)
        assert len(func.params) == len(operator.reads) + len(operator.writes)
