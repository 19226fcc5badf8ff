"""ONNX operators that are defined by graphs of other operators: a model's own functions, and those of the standard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .onnx_file import opset_versions
from .onnx_ops import is_known

__all__ = ["bound_nodes", "definition", "has_definition", "local_functions", "standard_domain", "unknown_operators"]

_BUILT_IN = {"Constant", "If", "Loop", "Scan"}


def standard_domain(domain: str) -> str:
    """The standard domain has two names."""
    return "" if domain == "ai.onnx" else domain


def local_functions(proto: Any) -> dict[tuple[str, str], Any]:
    """The model's own functions by (domain, name)."""
    return {(standard_domain(function.domain), function.name): function for function in proto.functions}


def _schema(domain: str, operator: str, version: int) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(operator, version, domain)
    except onnx.defs.SchemaError:
        return None


def has_definition(domain: str, operator: str, version: int) -> bool:
    """Whether the standard defines the operator by others."""
    schema = _schema(domain, operator, version)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def definition(node: Any, versions: Mapping[str, int], types: list[Any]) -> Any:
    """The standard's ``FunctionProto`` of a node.

    Parameters
    ----------
    versions
        Operator set version by domain.
    types
        ``TypeProto`` of each input: some definitions depend on them.

    Raises
    ------
    ValueError
        When there is none for these types.
    """
    from onnx import FunctionProto

    domain = standard_domain(node.domain)
    version = versions.get(domain, 1)
    schema = _schema(domain, node.op_type, version)
    if schema.has_context_dependent_function:
        known = [v for v in schema.context_dependent_function_opset_versions if v <= version]
        if known:
            data = schema.get_context_dependent_function_with_opset_version(
                max(known), node.SerializeToString(), [type_.SerializeToString() for type_ in types]
            )
            function = FunctionProto()
            function.ParseFromString(data)
            return function
    if schema.has_function:
        return schema.function_body
    raise ValueError(f"{node.op_type} has no definition for operator set {version}")


def bound_nodes(function: Any, node: Any) -> list[Any]:
    """The function's nodes with references to the call's attributes replaced by their values."""
    from onnx import NodeProto

    given = {attribute.name: attribute for attribute in node.attribute}
    for attribute in getattr(function, "attribute_proto", ()):
        given.setdefault(attribute.name, attribute)
    schema = _schema(standard_domain(node.domain), node.op_type, 10_000)
    if schema is not None:
        for name, attribute in schema.attributes.items():
            if attribute.default_value.type:
                given.setdefault(name, attribute.default_value)

    def bound(old: Any) -> Any:
        new = NodeProto()
        new.CopyFrom(old)
        del new.attribute[:]
        for attribute in old.attribute:
            if not attribute.ref_attr_name:
                copy = new.attribute.add()
                copy.CopyFrom(attribute)
                if copy.HasField("g"):
                    inner = [bound(item) for item in attribute.g.node]
                    del copy.g.node[:]
                    copy.g.node.extend(inner)
            elif attribute.ref_attr_name in given:
                copy = new.attribute.add()
                copy.CopyFrom(given[attribute.ref_attr_name])
                copy.name = attribute.name
        return new

    return [bound(old) for old in function.node]


def unknown_operators(proto: Any) -> Counter[tuple[str, str]]:
    """How often each (domain, operator) without a converter occurs, subgraphs included."""
    found: Counter[tuple[str, str]] = Counter()
    versions = opset_versions(proto)
    local = local_functions(proto)

    def visit(graph: Any) -> None:
        for node in graph.node:
            domain = standard_domain(node.domain)
            key = (domain, node.op_type)
            built_in = domain == "" and node.op_type in _BUILT_IN
            defined = key in local or is_known(*key) or has_definition(*key, versions.get(domain, 0))
            if not built_in and not defined:
                found[key] += 1
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    visit(attribute.g)
                for inner in attribute.graphs:
                    visit(inner)

    visit(proto.graph)
    for function in local.values():
        visit(function)
    return found
