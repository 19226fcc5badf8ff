"""Random small Relax models: chains and branches of what real models are made of, with and without a batch to cut."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gacer_tvm._tvm import relax

from .models import const, op

__all__ = ["models"]


class _Model:
    """A model that grows: the values so far, by their form."""

    def __init__(self, draw: st.DrawFn, batch: int) -> None:
        self.draw = draw
        self.batch = batch
        self.builder = relax.BlockBuilder()
        self.rows: list[Any] = []  # (B, C)
        self.tokens: list[Any] = []  # (B, S, D)
        self.images: list[Any] = []  # (B, C, H, W)
        self.flat: list[Any] = []  # (B * S, D)
        self.seed = draw(st.integers(0, 1000))

    def weight(self, *shape: int) -> Any:
        self.seed += 1
        return const(*shape, seed=self.seed)

    def pick(self, values: list[Any]) -> tuple[Any, tuple[int, ...]]:
        value = self.draw(st.sampled_from(values))
        return value, tuple(int(d) for d in value.ty.shape)

    def emit(self, value: Any) -> Any:
        """Bind a tensor and file it by its form."""
        var = self.builder.emit(value)
        shape = tuple(int(d) for d in var.ty.shape)
        if len(shape) == 4:
            self.images.append(var)
        elif len(shape) == 3:
            self.tokens.append(var)
        elif shape[0] == self.batch:
            self.rows.append(var)
        else:
            self.flat.append(var)
        return var

    def step(self) -> Any:
        choices = [name for name in ("rows", "tokens", "images", "flat") if getattr(self, name)]
        return getattr(self, f"on_{self.draw(st.sampled_from(choices))}")()

    def elementwise(self, x: Any) -> Any:
        return self.draw(st.sampled_from([op.nn.relu, op.tanh, op.sigmoid, op.exp, op.nn.gelu, op.negative]))(
            x
        )

    def on_rows(self) -> Any:
        x, (batch, width) = self.pick(self.rows)
        kind = self.draw(
            st.sampled_from(
                [
                    "dense",
                    "elementwise",
                    "softmax",
                    "bias",
                    "centre",
                    "scale",
                    "join",
                    "concat",
                    "view",
                    "split",
                    "tail",
                ]
            )
        )
        if kind == "dense":
            return self.emit(op.matmul(x, self.weight(width, self.draw(st.integers(1, 9)))))
        if kind == "elementwise":
            return self.emit(self.elementwise(x))
        if kind == "softmax":
            return self.emit(op.nn.softmax(x, axis=self.draw(st.sampled_from([0, 1, 1]))))
        if kind == "bias":
            return self.emit(op.nn.relu(op.add(x, self.weight(width))))
        if kind == "centre":
            return self.emit(op.subtract(x, op.mean(x, axis=[0], keepdims=True)))
        if kind == "scale":
            return self.emit(op.multiply(x, op.max(x, axis=[0], keepdims=True)))
        if kind == "join":
            other = next(y for y in reversed(self.rows) if y.ty.shape[1] == x.ty.shape[1])
            return self.emit(op.add(x, other))
        if kind == "concat":
            other, _ = self.pick(self.rows)
            return self.emit(op.concat([x, other], axis=1))
        if kind == "view" and width % 2 == 0:
            return self.emit(op.reshape(x, (batch, width // 2, 2)))
        if kind == "split" and width % 2 == 0:
            parts = self.builder.emit(op.split(op.tanh(x), 2, axis=1))
            self.emit(relax.TupleGetItem(parts, 0))
            return self.emit(relax.TupleGetItem(parts, 1))
        return self.emit(op.strided_slice(x, axes=[1], begin=[width // 2], end=[width]))

    def on_tokens(self) -> Any:
        x, (batch, length, width) = self.pick(self.tokens)
        kind = self.draw(
            st.sampled_from(["attention", "norm", "turn", "flatten", "pool", "elementwise", "rows"])
        )
        if kind == "attention":
            scores = op.nn.softmax(op.matmul(x, op.permute_dims(x, [0, 2, 1])), axis=-1)
            return self.emit(op.matmul(scores, x))
        if kind == "norm":
            return self.emit(op.nn.layer_norm(x, self.weight(width), self.weight(width), axes=[-1]))
        if kind == "turn":
            return self.emit(op.permute_dims(x, [0, 2, 1]))
        if kind == "flatten":
            return self.emit(op.reshape(x, (batch * length, width)))
        if kind == "pool":
            return self.emit(op.mean(x, axis=[1]))
        if kind == "rows":
            return self.emit(op.reshape(x, (batch, length * width)))
        return self.emit(self.elementwise(x))

    def on_images(self) -> Any:
        x, (batch, channels, height, width) = self.pick(self.images)
        kind = self.draw(st.sampled_from(["conv", "conv", "pool", "norm", "flatten", "mean", "elementwise"]))
        if kind == "conv":
            out = self.draw(st.integers(1, 5))
            y = op.nn.conv2d(x, self.weight(out, channels, 3, 3), padding=(1, 1))
            return self.emit(op.nn.relu(op.add(y, self.weight(1, out, 1, 1))))
        if kind == "pool" and min(height, width) > 1:
            return self.emit(op.nn.max_pool2d(x, pool_size=(2, 2), strides=(2, 2)))
        if kind == "norm":
            mean = op.mean(x, axis=[0, 2, 3], keepdims=True)
            return self.emit(op.multiply(op.subtract(x, mean), self.weight(1, channels, 1, 1)))
        if kind == "flatten":
            return self.emit(op.reshape(x, (batch, channels * height * width)))
        if kind == "mean":
            return self.emit(op.mean(x, axis=[2, 3]))
        return self.emit(self.elementwise(x))

    def on_flat(self) -> Any:
        x, (rows, width) = self.pick(self.flat)
        kind = self.draw(st.sampled_from(["dense", "softmax", "back", "elementwise"]))
        if kind == "dense":
            return self.emit(op.matmul(x, self.weight(width, self.draw(st.integers(1, 6)))))
        if kind == "softmax":
            return self.emit(op.nn.softmax(x, axis=-1))
        if kind == "back":
            return self.emit(op.reshape(x, (self.batch, rows // self.batch, width)))
        return self.emit(self.elementwise(x))


@st.composite
def models(draw: st.DrawFn, steps: int = 7) -> Any:
    """A Relax module with one function ``main`` of one or two inputs and one to three outputs."""
    batch = draw(st.integers(1, 5))
    model = _Model(draw, batch)
    forms = {
        "rows": (batch, 6),
        "tokens": (batch, 3, 4),
        "images": (batch, 2, 4, 4),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(forms)), min_size=1, max_size=2))
    inputs = [relax.Var(f"x{n}", relax.TensorType(forms[f], "float32")) for n, f in enumerate(chosen)]
    with model.builder.function("main", inputs):
        with model.builder.dataflow():
            for form, var in zip(chosen, inputs):
                getattr(model, form).append(var)
            made = [model.step() for _ in range(draw(st.integers(1, steps)))]
            extra = draw(st.lists(st.sampled_from(made), max_size=2))
            output = model.builder.emit_output(relax.Tuple([made[-1], *extra]))
        model.builder.emit_func_output(output)
    return model.builder.get()
