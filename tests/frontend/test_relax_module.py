"""Tenants from Relax modules: parameters, shapes, batch, names, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from gacer_tvm._tvm import relax, tvm
from gacer_tvm.errors import GacerError, TenantError
from gacer_tvm.frontend import Tenant, TensorSpec, check_inputs, normalize

from .running import run


@I.ir_module
class Linear:
    @R.function
    def main(
        x: R.Tensor((4, 3), "float32"), weight: R.Tensor((3, 2), "float32"), bias: R.Tensor((2,), "float32")
    ) -> R.Tensor((4, 2), "float32"):
        with R.dataflow():
            product = R.matmul(x, weight)
            total = R.add(product, bias)
            R.output(total)
        return total


@I.ir_module
class WeightFirst:
    @R.function
    def main(weight: R.Tensor((3, 2), "float32"), x: R.Tensor((4, 3), "float32")) -> R.Tensor((4, 2), "float32"):
        with R.dataflow():
            product = R.matmul(x, weight)
            R.output(product)
        return product


@I.ir_module
class Symbolic:
    @R.function
    def main(x: R.Tensor(("n", 3, "w"), "float32"), y: R.Tensor(("n", 3), "float32")):
        n = T.int64()  # noqa: F841
        w = T.int64()  # noqa: F841
        with R.dataflow():
            total = R.sum(x, axis=[2])
            both = R.add(total, y)
            R.output(both)
        return both


@I.ir_module
class Several:
    @R.function(private=True)
    def twice(x: R.Tensor((2, 6), "float32")) -> R.Tensor((2, 6), "float32"):
        return R.add(x, x)

    @R.function
    def main(x: R.Tensor((2, 6), "float32"), y: R.Tensor((2, 6), "float32")):
        cls = Several
        doubled = cls.twice(x)
        same = R.match_cast(doubled, R.Tensor((2, 6), "float32"))
        parts = R.split(same, 3, axis=1)
        return (y, (parts[2], same), parts)


@I.ir_module
class Branches:
    @R.function
    def main(flag: R.Tensor((), "bool"), x: R.Tensor((2,), "float32")) -> R.Tensor((2,), "float32"):
        if flag:
            result = R.add(x, x)
        else:
            result = R.multiply(x, x)
        return result


@I.ir_module
class DataDependent:
    @R.function
    def main(x: R.Tensor((4,), "float32")):
        with R.dataflow():
            places = R.nonzero(x)
            R.output(places)
        return places


def _linear_data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return tuple(generator.standard_normal(shape).astype("float32") for shape in ((4, 3), (3, 2), (2,)))


@pytest.mark.parametrize("form", ["mapping", "list", "tvm", "attribute", "bound"])
def test_parameters_in_every_form_give_the_same_answer(form):
    x, weight, bias = _linear_data()
    if form == "mapping":
        tenant = Tenant.from_relax(Linear, {"bias": bias, "weight": weight})
    elif form == "list":
        tenant = Tenant.from_relax(Linear, [weight, bias])
    elif form == "tvm":
        tenant = Tenant.of((Linear, {"weight": tvm.runtime.tensor(weight), "bias": tvm.runtime.tensor(bias)}))
    elif form == "attribute":
        module = Linear.clone()
        module["main"] = module["main"].with_attr(
            {"num_input": 1, "params": [tvm.runtime.tensor(weight), tvm.runtime.tensor(bias)]}
        )
        tenant = Tenant.of(module)
    else:
        tenant = Tenant.of(relax.transform.BindParams("main", {"weight": weight, "bias": bias})(Linear))
    assert dict(tenant.inputs) == {"x": ((4, 3), "float32")}
    assert tenant.batch == 4 and dict(tenant.batch_axes) == {"x": 0}
    np.testing.assert_allclose(run(tenant, {"x": x})["output0"], x @ weight + bias, rtol=1e-5, atol=1e-6)
    assert [var.name for var in normalize(tenant).module["main"].params] == ["x"]


def test_parameters_left_out_stay_inputs():
    tenant = Tenant.from_relax(Linear, {"bias": _linear_data()[2]})
    assert list(tenant.inputs) == ["x", "weight"]


def test_a_parameter_may_stand_before_the_inputs():
    x, weight, _ = _linear_data()
    tenant = Tenant.from_relax(WeightFirst, {"weight": weight})
    assert list(tenant.inputs) == ["x"]
    np.testing.assert_allclose(run(tenant, {"x": x})["output0"], x @ weight, rtol=1e-5, atol=1e-6)


def test_symbolic_extents_are_bound_by_shapes_or_batch():
    x, y = np.ones((5, 3, 2), "float32"), np.full((5, 3), 2.0, "float32")
    by_shapes = Tenant.from_relax(Symbolic, shapes={"x": (5, 3, 2)})
    by_both = Tenant.from_relax(Symbolic, shapes={"y": (5, 3), "x": (5, 3, 2)}, batch=5)
    for tenant in (by_shapes, by_both):
        assert tenant.batch == 5 and dict(tenant.batch_axes) == {"x": 0, "y": 0}
        assert dict(tenant.outputs) == {"output0": TensorSpec((5, 3), "float32")}
        np.testing.assert_array_equal(run(tenant, {"x": x, "y": y})["output0"], np.full((5, 3), 4.0))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["input 'x'", "symbolic", "shapes="]),
        ({"batch": 4}, ["input 'x'", "w", "symbolic"]),
        ({"shapes": {"x": (5, 3, 2), "y": (4, 3)}}, ["input 'y'", "(4, 3)"]),
        ({"shapes": {"x": (5, 4, 2)}}, ["input 'x'", "(5, 4, 2)"]),
        ({"shapes": {"x": (5, 3)}}, ["input 'x'", "(5, 3)"]),
        ({"shapes": {"z": (5, 3)}}, ["'z'", "no inputs", "'x'"]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given, said):
    with pytest.raises(TenantError) as caught:
        Tenant.from_relax(Symbolic, name="model", **given)
    for part in ["tenant 'model'", *said]:
        assert part in str(caught.value)


def test_tuples_private_functions_and_casts_become_one_flat_block():
    tenant = Tenant.of(Several, "several")
    assert [spec.shape for spec in tenant.outputs.values()] == [(2, 6), (2, 2), (2, 6), (2, 2), (2, 2), (2, 2)]
    generator = np.random.default_rng(0)
    x, y = (generator.standard_normal((2, 6)).astype("float32") for _ in range(2))
    found = list(run(tenant, {"x": x, "y": y}).values())
    parts = np.split(2 * x, 3, axis=1)
    for array, expected in zip(found, [y, parts[2], 2 * x, *parts], strict=True):
        np.testing.assert_array_equal(array, expected)
    blocks = normalize(tenant).module["main"].body.blocks
    assert len(blocks) == 1 and isinstance(blocks[0], relax.DataflowBlock)


def test_normalizing_twice_changes_nothing():
    tenant = normalize(Tenant.of(Several))
    assert normalize(tenant) is tenant


@pytest.mark.parametrize(
    ("module", "params", "said"),
    [
        (Linear, {"wieght": np.zeros((3, 2), "float32")}, ["wieght", "weight"]),
        (Linear, {"weight": np.zeros((2, 3), "float32")}, ["'weight'", "float32[3, 2]", "float32[2, 3]"]),
        (Linear, {"weight": np.zeros((3, 2), "float64")}, ["'weight'", "float32[3, 2]", "float64[3, 2]"]),
        (Linear, [np.zeros(1, "float32")] * 4, ["4 params", "3 arguments"]),
    ],
)
def test_parameters_that_do_not_fit_are_refused(module, params, said):
    with pytest.raises(TenantError) as caught:
        Tenant.from_relax(module, params)
    for part in said:
        assert part in str(caught.value)


def test_branches_and_data_dependent_shapes_are_refused():
    with pytest.raises(TenantError, match="branches on a value known only at run time"):
        normalize(Tenant.of(Branches, "b"))
    with pytest.raises(TenantError, match=r"tenant 'd'.*output0"):
        normalize(Tenant.of(DataDependent, "d"))


def test_the_entry_may_have_another_name():
    module = Linear.clone()
    renamed = tvm.IRModule({"forward": module["main"].with_attr("global_symbol", "forward")})
    assert list(Tenant.from_relax(renamed).inputs) == ["x", "weight", "bias"]
    assert list(Tenant.from_relax(renamed, entry="forward", output_names=["y"]).outputs) == ["y"]
    with pytest.raises(TenantError, match="2 output names were given for 1 results"):
        Tenant.from_relax(renamed, output_names=["y", "z"])
    with pytest.raises(TenantError, match="no function 'main'"):
        Tenant.from_relax(tvm.IRModule({}))


@pytest.mark.parametrize("thing", [3, object(), {"a": 1}, np.zeros(3), [Linear]])
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(TenantError, match="tenant 'odd': expected a Tenant"):
        Tenant.of(thing, "odd")


def test_batch_axis_given():
    assert Tenant.from_relax(Linear, batch_axis=None).batch is None
    assert dict(Tenant.from_relax(Linear, batch_axis={"x": 1, "weight": 0}).batch_axes) == {
        "x": 1,
        "weight": 0,
        "bias": None,
    }
    assert Tenant.from_relax(Linear, batch_axis=-1).batch_axes["x"] == 1
    for axis, said in (
        ({"z": 0}, "no inputs"),
        ({"x": 5}, "does not exist"),
        ({"x": 0, "bias": 0}, "different"),
        ("x", "auto"),
    ):
        with pytest.raises(TenantError, match=said):
            Tenant.from_relax(Linear, batch_axis=axis)


def test_a_tenant_cannot_be_changed():
    tenant = Tenant.of(Linear, "a")
    with pytest.raises(AttributeError):
        tenant.name = "b"
    with pytest.raises(TypeError):
        tenant.inputs["x"] = None
    assert tenant.named("b").name == "b" and tenant.name == "a"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, ["'x'", "missing"]),
        ({"x": np.zeros((4, 3), "float32"), "z": 0}, ["no input 'z'"]),
        ({"x": np.zeros((3, 4), "float32")}, ["'x'", "(4, 3)", "(3, 4)"]),
        ({"x": np.zeros((4, 3))}, ["'x'", "float32", "float64"]),
        ({"x": [[0.0] * 3] * 4}, ["'x'", "list"]),
        ([1], ["mapping", "list"]),
    ],
)
def test_inputs_that_do_not_fit_name_tenant_and_input(arrays, said):
    x, weight, bias = _linear_data()
    tenant = Tenant.from_relax(Linear, [weight, bias], name="linear")
    with pytest.raises(GacerError) as caught:
        check_inputs(tenant, arrays)
    for part in ["tenant 'linear'", *said]:
        assert part in str(caught.value)
    check_inputs(tenant, {"x": x})
