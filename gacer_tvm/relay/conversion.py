"""From Relay to Relax: a module's `@main` becomes one straight-line Relax function, its weights come out beside it."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence

import numpy as np

from gacer_tvm._tvm import relax
from gacer_tvm.errors import RelayError
from gacer_tvm.relay.ast import Expr, Function, IRModule, Var
from gacer_tvm.relay.convert import Emitter
from gacer_tvm.relay.convert.emitter import relax_type
from gacer_tvm.relay.dims import agree
from gacer_tvm.relay.evaluate import Evaluator
from gacer_tvm.relay.infer import infer_types
from gacer_tvm.relay.relax_semantics import RelaxSemantics, check_output
from gacer_tvm.relay.survey import check_convertible
from gacer_tvm.relay.type_values import check_parameter
from gacer_tvm.relay.types import TensorType, TupleType, Type
from gacer_tvm.relay.values import Tensor, Value
from gacer_tvm.relay.weights import match_weights, unique_names

__all__ = ["to_relax"]


Array = np.ndarray[typing.Any, typing.Any]


def to_relax(
    module: IRModule | Expr,
    params: Mapping[str, typing.Any] | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    check_types: bool = True,
) -> tuple[typing.Any, dict[str, Array]]:
    """Convert a Relay module to Relax.

    Parameters
    ----------
    module : IRModule or Expr
        `@main` is converted; functions and closures that it calls are inlined. An `if` on a value known only at run
        time computes both branches and selects, which is right because Relay's operators are pure.
    params : Mapping of str to array, optional
        Values of `@main`'s weights by name (numpy, anything with `.numpy()`, or a Relay constant). The parameters named
        here are weights; all others are inputs. Without it, every parameter is an input. Names that `@main` does not
        have are left out with a warning, since parameter files often hold more than a module uses.
    shapes : Mapping of str to sequence of int, optional
        Shapes of parameters that the module leaves open (`?`), by name.
    check_types : bool
        Whether the types noted in the source must agree with the inferred ones.

    Returns
    -------
    module : tvm.IRModule
        With the Relax function "main": first the inputs, in the module's order, then the weights; its attribute
        "num_input" is the number of inputs. Dimensions left open are symbolic variables.
    params : dict of str to numpy.ndarray
        The weights, in the order of the function's last parameters, under the names that those have.

    Raises
    ------
    UnsupportedOperatorError
        Naming all operators that cannot be converted, with counts and places.
    RelayError
        For algebraic data types, references, recursion, types that contradict each other, and weights that do not fit.
    """
    if isinstance(module, Expr):
        module = IRModule.from_expr(module)
    if "main" not in module:
        raise RelayError(
            "The module has no @main to convert; it has " + ", ".join("@" + n for n in module.functions) + "."
        )
    check_convertible(module)
    main = module["main"]
    if shapes or any(_open(param.type_annotation) for param in main.params):
        module, main = _with_shapes(module, main, shapes or {}, check_types)
    names = unique_names(main.params)
    weights = match_weights(main, names, params)
    order = [p for p in main.params if names[id(p)] not in weights] + [
        p for p in main.params if names[id(p)] in weights
    ]

    builder = relax.BlockBuilder()
    symbols: dict[str, typing.Any] = {}
    values: dict[int, Value] = {}
    variables = []
    for param in order:
        value, made = _parameter(names[id(param)], param, symbols)
        if isinstance(value, Tensor):
            value.const = weights.get(names[id(param)])
        values[id(param)] = value
        variables.append(made)
    emitter = Emitter(builder)
    semantics = RelaxSemantics(emitter, check_types)
    with builder.function("main", variables, attrs={"num_input": len(order) - len(weights)}):
        try:
            with builder.dataflow():
                arguments = [_unpacked(emitter, values[id(param)]) for param in main.params]
                value = Evaluator(module, semantics).run(main, arguments)
                check_output(value)
                result = builder.emit_output(semantics.output(value))
        except BaseException:
            # Closes the function, about which TVM would complain on the terminal.
            builder.emit_func_output(relax.Tuple([]))
            raise
        builder.emit_func_output(result)
    converted = builder.finalize()
    function = relax.analysis.remove_all_unused(converted["main"])
    converted.update_func(converted.get_global_var("main"), function)
    return converted, {names[id(p)]: weights[names[id(p)]] for p in order if names[id(p)] in weights}


def _open(type_: Type | None) -> bool:
    """Whether a parameter's type is not stated at all."""
    return type_ is None


def _with_shapes(
    module: IRModule, main: Function, shapes: Mapping[str, Sequence[int]], check_types: bool
) -> tuple[IRModule, Function]:
    """The module with the given shapes as annotations, and untyped weights annotated by inference."""
    import dataclasses

    from gacer_tvm.relay.rewrite import substitute

    by_name = {param.name_hint: param for param in main.params}
    unknown = sorted(set(shapes) - set(by_name))
    if unknown:
        raise RelayError(f"Shapes are given for {', '.join(unknown)}, but @main has only {', '.join(by_name)}.")
    changed: dict[int, Expr] = {}
    for name, shape in shapes.items():
        param = by_name[name]
        stated = param.type_annotation
        dtype = stated.dtype if isinstance(stated, TensorType) else "float32"
        wanted = TensorType(tuple(int(dim) for dim in shape), dtype)
        if not agree(stated, wanted):
            raise RelayError(f"The shape {tuple(shape)} given for %{name} contradicts its type {stated}.")
        changed[id(param)] = dataclasses.replace(param, type_annotation=wanted, checked_type=None)
    if changed:
        main = typing.cast(Function, substitute(main, changed))
        module = IRModule({**module.functions, "main": main}, module.type_definitions, module.attrs)
    if any(_open(param.type_annotation) for param in main.params):
        module = infer_types(module, check_types)
    return module, module["main"]


def _parameter(name: str, param: Var, symbols: dict[str, typing.Any]) -> tuple[Value, typing.Any]:
    """A Relax parameter and the value that it has, before tuples are unpacked."""
    stated = param.type_annotation
    check_parameter(param)
    if isinstance(stated, TensorType):
        made = relax.Var(name, relax_type(stated, symbols))
        return Tensor(stated, data=made), made
    if isinstance(stated, TupleType):
        made = relax.Var(name, _tuple_type(stated, symbols))
        return typing.cast(Value, _Packed(stated, made)), made
    raise RelayError(f"The parameter %{name} is {stated}; only tensors and tuples of tensors can be inputs.")


class _Packed(typing.NamedTuple):
    """A tuple parameter that is taken apart once bindings can be made."""

    type: TupleType
    data: typing.Any


def _tuple_type(type_: TupleType, symbols: dict[str, typing.Any]) -> typing.Any:
    fields = []
    for field in type_.fields:
        if isinstance(field, TupleType):
            fields.append(_tuple_type(field, symbols))
        elif isinstance(field, TensorType):
            fields.append(relax_type(field, symbols))
        else:
            raise RelayError(f"An input holds {field}; only tensors can be inputs.")
    return relax.TupleType(fields)


def _unpacked(e: Emitter, value: typing.Any) -> Value:
    """A parameter's value with tuples taken apart into their tensors."""
    if not isinstance(value, _Packed):
        return typing.cast(Value, value)
    parts = e.fields(value.data, len(value.type.fields))
    return tuple(
        _unpacked(e, _Packed(field, part))
        if isinstance(field, TupleType)
        else Tensor(typing.cast(TensorType, field), data=part)
        for field, part in zip(value.type.fields, parts)
    )
