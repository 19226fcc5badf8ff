"""ONNX to Relax with every shape known: a walk over the graph that computes what is constant as it goes.

All inputs have static shapes, so each value met on the way is either a constant (NumPy) or a Relax expression of static
shape. `Shape` is a constant, arithmetic on shapes is evaluated at once, a branch or loop whose condition is constant is
followed or unrolled, and the converters see numbers where they want numbers. This is what lets models import whose
reshapes and slices are computed from their input's shape.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._tvm import relax, tvm
from ..errors import TenantError
from .constants import as_constant, value_of
from .onnx_control import CONTROL
from .onnx_file import opset_versions
from .onnx_functions import bound_nodes, definition, has_definition, local_functions, standard_domain
from .onnx_node import Node
from .onnx_ops import converter_for, is_known
from .onnx_values import attributes_of, dense, shape_or_size, show, static_shape, type_proto
from .signature import TensorSpec

__all__ = ["import_graph"]

# Nothing random may be computed ahead of time; sequences and optionals are no tensors.
_NEVER_FOLDED = {
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout",
    "SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength",
    "ConcatFromSequence", "SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement",
}  # fmt: skip
_SEQUENCES = {
    "ConcatFromSequence", "Optional", "OptionalGetElement", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
    "SequenceInsert", "SplitToSequence",
}  # fmt: skip


def import_graph(proto: Any, inputs: Mapping[str, TensorSpec], versions: Mapping[str, int], who: str) -> Any:
    """The IRModule of a model whose operators are all known.

    Parameters
    ----------
    inputs
        Static shape and dtype of each graph input, in order.
    versions
        Operator set version by domain.

    Raises
    ------
    TenantError
        Naming the node that cannot be converted for these shapes.
    """
    walk = _Walk(versions, local_functions(proto), who)
    variables = {
        name: relax.Var(_identifier(name), relax.TensorType(spec.shape, spec.dtype)) for name, spec in inputs.items()
    }
    failure: TenantError | None = None
    with walk.builder.function("main", list(variables.values())):
        with walk.builder.dataflow():
            env: dict[str, Any] = dict(variables)
            results = []
            try:
                walk.graph(proto.graph, env)
                for output in proto.graph.output:
                    results.append(walk.expression(walk.read(env, output.name, "the graph's outputs")))
            except TenantError as error:  # raised when the builder is closed: TVM warns of open ones on standard error
                failure = error
            outputs = walk.builder.emit_output(relax.Tuple([] if failure else results))
        walk.builder.emit_func_output(outputs)
    if failure is not None:
        raise failure
    return walk.builder.get()


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)[:48] or "value"


@dataclass(frozen=True)
class _Missing:
    """An output that its converter does not make; an error only when somebody reads it."""

    node: Any


class _Walk:
    """The state of one import. Values in an environment are NumPy arrays (constants), Relax expressions, or None."""

    def __init__(self, versions: Mapping[str, int], local: Mapping[tuple[str, str], Any], who: str) -> None:
        self.versions = versions
        self.local = local
        self.who = who
        self.builder = relax.BlockBuilder()

    def read(self, env: Mapping[str, Any], name: str, reader: str) -> Any:
        if name == "":
            return None
        if name not in env:
            raise TenantError(f"{self.who}: {reader} reads {name!r}, which nothing produces; the ONNX graph is broken")
        if isinstance(env[name], _Missing):
            raise self.fail(env[name].node, f"its output {name!r}, which {reader} reads, is not supported")
        return env[name]

    def expression(self, value: Any) -> Any:
        """A Relax expression for a value."""
        if isinstance(value, np.ndarray):
            return as_constant(value)
        return value

    def graph(self, graph: Any, env: dict[str, Any]) -> None:
        """Convert all nodes of a graph or subgraph into `env`."""
        from onnx import numpy_helper

        for tensor in graph.initializer:
            env[tensor.name] = numpy_helper.to_array(tensor)
        for tensor in graph.sparse_initializer:
            env[tensor.values.name] = dense(tensor)
        self.nodes(graph.node, env)

    def nodes(self, nodes: Any, env: dict[str, Any]) -> None:
        """Convert nodes in order."""
        for node in nodes:
            values = [self.read(env, name, f"node {node.name or node.op_type!r}") for name in node.input]
            results = self.node(node, values, env)
            for name, value in zip(node.output, results, strict=False):
                if name:
                    env[name] = value

    def node(self, node: Any, values: list[Any], env: dict[str, Any]) -> list[Any]:
        """The results of one node."""
        if node.op_type in CONTROL and standard_domain(node.domain) == "":
            return CONTROL[node.op_type](self, node, values, env)
        key = (standard_domain(node.domain), node.op_type)
        if key in self.local:
            return self.function(self.local[key], node, values)
        if node.op_type in ("Shape", "Size") and not isinstance(values[0], np.ndarray):
            return [shape_or_size(node, self.shape_of(values[0], node))]
        if all(value is None or isinstance(value, np.ndarray) for value in values):
            folded = self.evaluate(node, values)
            if folded is not None:
                return folded
        if not is_known(*key):
            if not has_definition(*key, self.versions.get(key[0], 0)):
                raise self.fail(node, "there is no conversion for this operator")
            return self.function(definition(node, self.versions, [type_proto(value) for value in values]), node, values)
        return self.convert(node, values)

    def shape_of(self, value: Any, node: Any) -> tuple[int, ...]:
        if isinstance(value, np.ndarray):
            return tuple(int(extent) for extent in value.shape)
        return static_shape(value.ty, lambda why: self.fail(node, why))

    def fail(self, node: Any, why: str) -> TenantError:
        place = f"node {node.name!r} ({node.op_type})" if node.name else f"a node {node.op_type}"
        return TenantError(f"{self.who}: {place} cannot be converted: {why}")

    def evaluate(self, node: Any, values: list[Any]) -> list[Any] | None:
        """The node's value by ONNX's own reference implementation, or None where it has none."""
        if node.op_type in _NEVER_FOLDED:
            return None
        from onnx import TensorProto, helper
        from onnx.reference import ReferenceEvaluator

        fed = {name: value for name, value in zip(node.input, values, strict=True) if name}
        infos = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in fed]
        outs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output if name]
        graph = helper.make_graph([node], "constant", infos, outs)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.versions.items()]
        try:
            with np.errstate(all="ignore"):
                found = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, fed)
        except Exception:  # whatever the reference does not implement is left to the converter
            return None
        arrays = [np.asarray(value) for value in found]
        if any(not isinstance(value, np.ndarray | np.generic) for value in found) or any(
            array.dtype.kind in "OUS" for array in arrays
        ):
            return None
        produced = iter(arrays)
        return [next(produced) if name else None for name in node.output]

    def convert(self, node: Any, values: list[Any]) -> list[Any]:
        """The node through its converter, each result bound to a variable."""
        domain = standard_domain(node.domain)
        attributes = attributes_of(node)
        attributes["tvm_custom"] = {"name": node.name, "num_outputs": len(node.output)}
        version = self.versions.get(domain, 1)
        given = Node(self.builder, node.op_type, version, values, attributes, [bool(name) for name in node.output])
        try:
            # Some of TVM's converters print before they raise.
            with contextlib.redirect_stdout(io.StringIO()):
                result = converter_for(domain, node.op_type)(given)
                found = result if isinstance(result, list) else self.split(node, result)
                found += [None] * (len(node.output) - len(found))
                return [
                    _Missing(node) if value is None and name else self.leaf(node, value, _identifier(name))
                    for name, value in zip(node.output, found, strict=False)
                ]
        except TenantError:
            raise
        except Exception as error:
            text = str(error).strip().splitlines()
            shapes = ", ".join(show(value) for value in values)
            raise self.fail(node, f"{text[-1] if text else type(error).__name__} (inputs: {shapes})") from error

    def split(self, node: Any, result: Any) -> list[Any]:
        """What a converter returned, output by output."""
        if isinstance(result, np.ndarray) or node.op_type in _SEQUENCES:
            return [result]
        if isinstance(result, relax.Tuple):
            return list(result.fields)
        result = self.builder.normalize(result)
        if isinstance(result.ty, relax.TupleType):
            whole = self.builder.emit(result)
            return [relax.TupleGetItem(whole, index) for index in range(len(result.ty.fields))]
        return [result]

    def leaf(self, node: Any, value: Any, hint: str) -> Any:
        """A value for the environment: constants as NumPy, tensors as variables of static shape."""
        if value is None or isinstance(value, np.ndarray | relax.Tuple):
            return value
        if isinstance(value, tvm.ir.GenericConst):
            return value_of(value)
        if isinstance(value, relax.ShapeExpr):
            return np.array([int(extent) for extent in value.values], "int64")
        if isinstance(value, tvm.tirx.IntImm):
            return np.array(int(value), "int64")
        if not isinstance(value, relax.Var):
            value = self.builder.emit(value, hint)
        if isinstance(value.ty, relax.TensorType):
            static_shape(value.ty, lambda why: self.fail(node, why))
        return value

    def function(self, function: Any, node: Any, values: list[Any]) -> list[Any]:
        """A node that is defined by a graph of other operators."""
        inner: dict[str, Any] = dict.fromkeys(function.input)
        inner.update(zip(function.input, values, strict=False))
        outer = self.versions
        self.versions = {**outer, **opset_versions(function)}
        try:
            self.nodes(bound_nodes(function, node), inner)
        except TenantError as error:
            raise self.fail(node, f"in its definition: {error}") from error
        finally:
            self.versions = outer
        wanted = [*node.output, *[""] * len(function.output)]
        # Optional outputs are left out of the definition where nobody reads them.
        return [
            self.read(inner, name, f"the results of {node.op_type}") if asked else None
            for name, asked in zip(function.output, wanted, strict=False)
        ]
