"""Modules printed by a real TVM 0.17 give the outputs that it computed, read from text and from JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gacer_tvm
from gacer_tvm import relay
from gacer_tvm._tvm import relax, tvm
from gacer_tvm.errors import RelayError
from tests.relay.running import flat, run_module, tensor

WITH_OUTPUTS = (
    "conv_block", "dqn", "global_fn", "if_else", "infix", "lstm", "mlp", "mlp_anf", "mlp_bound_bias_meta", "qnn_conv",
    "resnet8_cifar", "scalars", "tuples",
)  # fmt: skip
MODELS = ("densenet121", "inception_v3", "lstm", "mobilenet", "resnet18", "resnet50", "vgg16_bn")


@pytest.fixture(scope="module")
def fixtures(shared_dir: Path) -> Path:
    """The folder of small modules."""
    return shared_dir / "relay" / "fixtures"


def _inputs(fixtures: Path, name: str, module: relay.IRModule) -> dict[str, Any]:
    """The inputs that the outputs were computed from: shipped, or drawn by the rule beside them."""
    if (fixtures / f"{name}.in.npz").exists():
        with np.load(fixtures / f"{name}.in.npz") as file:
            inputs = {key: file[key] for key in file.files}
        # Parameters of one name (the steps of an LSTM) were given one array; the printer numbered them.
        for param in module["main"].params:
            if param.name_hint not in inputs:
                inputs[param.name_hint] = inputs[param.name_hint.rstrip("0123456789")]
        return inputs
    sys.path.insert(0, str(fixtures))
    try:
        from inputs import draw_inputs
    finally:
        sys.path.remove(str(fixtures))
    params = [(p.name_hint, p.type_annotation.shape, p.type_annotation.dtype) for p in module["main"].params]
    return draw_inputs(params)


def _compare(fixtures: Path, name: str, found: list[np.ndarray]) -> None:
    with np.load(fixtures / f"{name}.out.npz") as file:
        wanted = [file[f"out{index}"] for index in range(len(file.files))]
    assert len(found) == len(wanted)
    for got, want in zip(found, wanted):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(got, want)
            continue
        # Softmax over random weights is nearly flat, so that the error is taken relative to the outputs' spread.
        scale = np.ptp(want) if want.size > 1 and np.ptp(want) > 0 else np.abs(want).max()
        assert np.abs(got.astype("float64") - want).max() <= 1e-5 * scale


@pytest.mark.parametrize("name", WITH_OUTPUTS)
def test_text_computes_what_tvm_computed(fixtures: Path, name: str) -> None:
    module = relay.load(fixtures / f"{name}.relay")
    _compare(fixtures, name, run_module(module, _inputs(fixtures, name, module), target="llvm"))


@pytest.mark.parametrize("name", [name for name in WITH_OUTPUTS])
def test_json_converts_to_the_same_function_as_text(fixtures: Path, name: str) -> None:
    from_text, _ = relay.to_relax(relay.load(fixtures / f"{name}.relay"))
    from_json, _ = relay.to_relax(relay.load(fixtures / f"{name}.json"))
    tvm.ir.assert_structural_equal(from_text, from_json)


def test_parameters_become_weights(fixtures: Path) -> None:
    module = relay.load(fixtures / "mlp.relay")
    params = relay.load_params(fixtures / "mlp.params")
    converted, weights = relay.to_relax(module, params)
    assert list(weights) == [p.name_hint for p in module["main"].params[1:]]
    assert int(converted["main"].attrs["num_input"]) == 1
    data = _inputs(fixtures, "mlp", module)
    for name, value in params.items():
        np.testing.assert_array_equal(weights[name], value)
    _compare(fixtures, "mlp", run_module(module, data, {k: data[k] for k in weights}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model_mobilenet", "model_resnet18"])
def test_whole_models_compute_what_tvm_computed(fixtures: Path, name: str) -> None:
    module = relay.load(fixtures / f"{name}.relay")
    _compare(fixtures, name, run_module(module, _inputs(fixtures, name, module), target="llvm"))


@pytest.mark.parametrize("name", ["conv_block_composite", "dyn_shape"])
def test_the_others_convert(fixtures: Path, name: str) -> None:
    converted, _ = relay.to_relax(relay.load(fixtures / f"{name}.relay"))
    relax.analysis.well_formed(converted)


def test_composite_functions_are_inlined(fixtures: Path) -> None:
    plain = relay.load(fixtures / "conv_block.relay")
    data = _inputs(fixtures, "conv_block", plain)
    found = run_module(relay.load(fixtures / "conv_block_composite.relay"), data)
    _compare(fixtures, "conv_block", found)


def test_open_dimensions_become_symbolic(fixtures: Path) -> None:
    module = relay.load(fixtures / "dyn_shape.relay")
    converted, _ = relay.to_relax(module)
    machine = relax.VirtualMachine(tvm.compile(converted, "llvm"), tvm.cpu())
    weight = np.random.RandomState(0).randn(3, 4).astype("float32")
    for rows in (1, 5):
        data = np.random.RandomState(rows).randn(rows, 4).astype("float32")
        (found,) = flat(machine["main"](tensor(data), tensor(weight)))
        np.testing.assert_allclose(found, np.maximum(data @ weight.T, 0), rtol=1e-5, atol=1e-6)
    fixed, _ = relay.to_relax(module, shapes={"x": (5, 4)})
    assert [int(dim) for dim in fixed["main"].ret_ty.shape.values] == [5, 3]


def test_algebraic_data_types_are_refused_with_their_places(fixtures: Path) -> None:
    module = relay.load(fixtures / "list_adt.relay")
    with pytest.raises(RelayError, match=r"Algebraic data types are not supported.*list_adt.relay:\d+:\d+"):
        relay.to_relax(module)


@pytest.mark.parametrize("name", MODELS)
def test_models_convert_with_the_types_that_were_printed(shared_dir: Path, name: str) -> None:
    module = relay.load(shared_dir / "relay" / "models" / f"{name}.relay")
    converted, _ = relay.to_relax(module)
    main = module["main"]
    assert len(converted["main"].params) == len(main.params)
    assert [int(dim) for dim in converted["main"].ret_ty.shape.values] == list(main.ret_type.shape)


def test_the_model_in_json_is_the_one_in_text(shared_dir: Path) -> None:
    models = shared_dir / "relay" / "models"
    from_text, _ = relay.to_relax(relay.load(models / "resnet18.relay"))
    from_json, _ = relay.to_relax(relay.load(models / "resnet18.json"))
    tvm.ir.assert_structural_equal(from_text, from_json)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sequential", "parallel"])
def test_built_together_they_compute_what_tvm_computed(fixtures: Path, tmp_path_factory: Any, way: str) -> None:
    """Through the whole compiler: several of them in one executable, with this project's own kernels."""
    names = (*WITH_OUTPUTS, "model_mobilenet", "model_resnet18")
    modules = {name: relay.load(fixtures / f"{name}.relay") for name in names}
    inputs = {name: _inputs(fixtures, name, module) for name, module in modules.items()}
    cache = tmp_path_factory.getbasetemp() / "fixtures-together"
    with gacer_tvm.build(modules, schedule=way, cache=cache) as executable:
        found = executable.run(inputs)
    for name in names:
        _compare(fixtures, name, found[name])
