"""Loop extents of a printed ComputeDAG, from the shapes of its inputs and output.

The print leaves them out. A variable that indexes a known dimension by itself runs over that dimension; an intermediate
tensor is as large as its readers reach; a padded one is as large as its printed bounds say. What stays open (the window
of a pooling under a stride) is settled by the workload's known FLOPs, else by the common choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from .dag import Call, Compute, Dag, Expr, Load, Num, Placeholder, Stage, Var, loads_of, walk
from .dag_text import DagTextError, Line, parse_lines, variables

__all__ = ["dag_from_text"]

Shape = tuple[int, ...]

_MAX_EXTENT = 1 << 31
# The largest stride of a window that is looked for.
_MAX_STRIDE = 64


def dag_from_text(text: str, shapes: Sequence[Shape] | None = None, flops: float | None = None) -> Dag:
    """Parse a printed ComputeDAG and work out every extent.

    Parameters
    ----------
    text
        As ``print(task.compute_dag)`` gives it.
    shapes
        Shapes of the placeholders in order, then of the output, as in a workload key; None takes the printed ones (the
        output's is then found from the inputs).
    flops
        The task's FLOP count where known.

    Raises
    ------
    DagTextError
        If the text is not such a print or the extents do not follow.
    """
    lines = parse_lines(text)
    solver = _Solver(lines, shapes, flops)
    solver.solve()
    return solver.dag()


class _Solver:
    def __init__(self, lines: Sequence[Line], shapes: Sequence[Shape] | None, flops: float | None) -> None:
        self.lines = lines
        self.flops = flops
        self.dims: list[list[int | None]] = []
        self.reduce: list[dict[str, int | None]] = []
        inputs = [index for index, line in enumerate(lines) if line.placeholder]
        if shapes is not None and len(shapes) != len(inputs) + 1:
            raise DagTextError(f"the text has {len(inputs)} inputs, the key has {len(shapes) - 1}")
        given = dict(zip(inputs, shapes or (), strict=False))
        for index, line in enumerate(lines):
            if line.placeholder:
                shape = given.get(index, line.shape)
                if shape is None or (line.shape is not None and len(line.shape) != len(shape)):
                    raise DagTextError(f"no shape for input {line.name!r}")
                self.dims.append(list(shape))
                self.reduce.append({})
            elif line.matrix is not None:
                self.dims.append([len(line.matrix), len(line.matrix[0])])
                self.reduce.append({})
            else:
                assert line.body is not None
                self.dims.append([None] * len(line.axes))
                self.reduce.append({name: None for name in variables(line.body) if name not in line.axes})
                if bool(self.reduce[-1]) != bool(line.combiner):
                    raise DagTextError(f"stage {line.name!r} reduces over nothing, or uses an unknown variable")
        if shapes is not None:
            if len(shapes[-1]) != len(lines[-1].axes):
                raise DagTextError("the output has another rank than the key says")
            self.dims[-1] = list(shapes[-1])

    # --- the rules -------------------------------------------------------------------------------------------------

    def solve(self) -> None:
        while True:
            if self._forward():
                continue
            if self._padding():
                continue
            if self._backward() or self._windows():
                continue
            break
        for index, line in enumerate(self.lines):
            open_axes = [name for name, extent in self._extents(index).items() if extent is None]
            if open_axes:
                raise DagTextError(f"extents of {', '.join(open_axes)} in stage {line.name!r} do not follow")
        self._grow_padding()
        self._check()

    def _grow_padding(self) -> None:
        """Winograd pads further than its bounds show: up to a whole number of tiles, all of it guarded."""
        for index, body in self._formulas():
            if isinstance(body, Call) and body.op == "if":
                for position, extent in enumerate(self.dims[index]):
                    self.dims[index][position] = max(extent or 0, self._reach(index, position) or 0)

    def _extents(self, index: int) -> dict[str, int | None]:
        line = self.lines[index]
        return {**dict(zip(line.axes, self.dims[index], strict=False)), **self.reduce[index]}

    def _set(self, index: int, name: str, extent: int) -> None:
        if extent <= 0:
            raise DagTextError(f"axis {name!r} of stage {self.lines[index].name!r} would be empty")
        if name in self.reduce[index]:
            self.reduce[index][name] = extent
        else:
            self.dims[index][self.lines[index].axes.index(name)] = extent

    def _formulas(self) -> list[tuple[int, Expr]]:
        return [(index, line.body) for index, line in enumerate(self.lines) if line.body is not None]

    def _forward(self) -> bool:
        """A bare variable, or ``v // c`` beside ``v % c``, runs over the dimension that it indexes."""
        changed = False
        for index, body in self._formulas():
            extents = self._extents(index)
            for load in loads_of(body):
                self._check_rank(load)
                for position, expr in enumerate(load.indices):
                    dim = self.dims[load.stage][position]
                    if dim is None:
                        continue
                    if isinstance(expr, Var) and extents.get(expr.name, 0) is None:
                        self._set(index, expr.name, dim)
                        extents[expr.name] = dim
                        changed = True
                    elif isinstance(expr, Call) and expr.op == "//" and isinstance(expr.args[0], Var):
                        name, divisor = expr.args[0].name, expr.args[1]
                        if extents.get(name, 0) is None and isinstance(divisor, Num):
                            self._set(index, name, dim * int(divisor.value))
                            extents[name] = dim * int(divisor.value)
                            changed = True
        return changed

    def _check_rank(self, load: Load) -> None:
        if len(load.indices) != len(self.dims[load.stage]):
            raise DagTextError(f"{self.lines[load.stage].name!r} is read with {len(load.indices)} indices")

    def _padding(self) -> bool:
        """``if(lo <= i && i < hi, data[i - lo], 0)`` has extent hi + lo, or more where a reader reaches further."""
        changed = False
        for index, body in self._formulas():
            if not (isinstance(body, Call) and body.op == "if"):
                continue
            low: dict[str, int] = {}
            high: dict[str, int] = {}
            for node in walk(body.args[0]):
                if isinstance(node, Call) and node.op in (">=", "<", "<=", ">"):
                    _bound(node, low, high)
            for name, extent in list(self._extents(index).items()):
                if extent is None and name in high:
                    size = high[name] + low.get(name, 0)
                    reach = self._reach(index, self.lines[index].axes.index(name))
                    if reach is None and name not in low:
                        continue
                    self._set(index, name, max(size, reach or 0))
                    changed = True
        return changed

    def _reach(self, index: int, position: int) -> int | None:
        """How far the readers of a stage go along one axis; None if that is not known yet, or nobody reads it."""
        reach = 0
        for reader, body in self._formulas():
            extents = self._extents(reader)
            for load in loads_of(body):
                if load.stage != index:
                    continue
                bounds = _interval(load.indices[position], extents)
                if bounds is None:
                    return None
                reach = max(reach, bounds[1] + 1)
        return reach or None

    def _backward(self) -> bool:
        for index in range(len(self.lines) - 1, -1, -1):
            for position, extent in enumerate(self.dims[index]):
                if extent is None:
                    reach = self._reach(index, position)
                    if reach is not None:
                        self.dims[index][position] = reach
                        return True
        return False

    def _windows(self) -> bool:
        """``data[y * stride + k]``: the window k of a pooling, which no weight tells."""
        open_windows: list[tuple[int, str, list[int]]] = []
        for index, body in self._formulas():
            extents = self._extents(index)
            for load in loads_of(body):
                for position, expr in enumerate(load.indices):
                    dim = self.dims[load.stage][position]
                    names = [name for name in variables(expr) if extents.get(name, 0) is None]
                    if dim is None or len(names) != 1 or names[0] not in self.reduce[index]:
                        continue
                    bounds = _interval(expr, {**extents, names[0]: 1})
                    stride = _stride(expr, names[0])
                    if bounds is None or stride is None or stride > _MAX_STRIDE:
                        continue
                    largest = dim - bounds[1]
                    choices = [k for k in range(largest, max(largest - stride, 0), -1) if k > 0]
                    if choices:
                        open_windows.append((index, names[0], choices))
        if not open_windows:
            return False
        index, _, choices = open_windows[0]
        size = self._pick_window(index, open_windows, choices)
        # Windows are square where they can be.
        for stage, name, possible in open_windows:
            if stage == index:
                self._set(index, name, size if size in possible else possible[-1])
        return True

    def _pick_window(self, index: int, open_windows: list[tuple[int, str, list[int]]], choices: list[int]) -> int:
        if self.flops and all(extent is not None for extent in self.dims[-1]):
            # Each window element is one operation; what is fused behind adds one a stage. Square windows are assumed.
            size = 1
            for extent in self.dims[-1]:
                size *= extent or 1
            per_output = self.flops / size
            after = len([line for line in self.lines[index + 1 :] if line.body is not None])
            count = len([window for window in open_windows if window[0] == index])
            for k in choices:
                if abs(k**count + after - per_output) < 0.5:
                    return k
        return next((k for k in choices if k % 2), choices[0])

    def _check(self) -> None:
        for index, body in self._formulas():
            extents = self._extents(index)
            guarded = isinstance(body, Call) and body.op == "if"
            for load in loads_of(body):
                for position, expr in enumerate(load.indices):
                    bounds = _interval(expr, extents)
                    dim = self.dims[load.stage][position]
                    if bounds is None or dim is None:
                        raise DagTextError(f"cannot bound an index of {self.lines[load.stage].name!r}")
                    if not guarded and (bounds[0] < 0 or bounds[1] >= dim):
                        raise DagTextError(f"stage {self.lines[index].name!r} would read outside its input")

    # --- the result ------------------------------------------------------------------------------------------------

    def dag(self) -> Dag:
        stages: list[Stage] = []
        for index, line in enumerate(self.lines):
            shape = tuple(int(extent or 0) for extent in self.dims[index])
            if any(not 0 < extent < _MAX_EXTENT for extent in (*shape, *[e or 0 for e in self.reduce[index].values()])):
                raise DagTextError(f"stage {line.name!r} has an axis of an impossible extent")
            if line.placeholder:
                stages.append(Placeholder(line.name, shape))
                continue
            body = line.body if line.matrix is None else _selects(line.axes, line.matrix)
            assert body is not None
            axes = tuple(zip(line.axes, shape, strict=True))
            reduce = tuple((name, int(extent or 0)) for name, extent in self.reduce[index].items())
            stages.append(Compute(line.name, axes, reduce, line.combiner, body))
        return Dag(tuple(stages))


def _selects(axes: Sequence[str], matrix: Sequence[Sequence[float]]) -> Expr:
    """The nested selects that TVM's `const_matrix` builds: the last element is tested first."""
    rows, columns = len(matrix), len(matrix[0])
    body: Expr = Num(0.0, "float32")
    for i in range(rows):
        for j in range(columns):
            row = Call("==", (Call("%", (Var(axes[0]), Num(rows))), Num(i)))
            column = Call("==", (Call("%", (Var(axes[1]), Num(columns))), Num(j)))
            body = Call("select", (Call("&&", (row, column)), Num(float(matrix[i][j]), "float32"), body))
    return body


def _bound(node: Call, low: dict[str, int], high: dict[str, int]) -> None:
    left, right = node.args
    if isinstance(left, Num) and isinstance(right, Var):
        left, right = right, left
        op = {">=": "<=", "<=": ">=", "<": ">", ">": "<"}[node.op]
    else:
        op = node.op
    if isinstance(left, Var) and isinstance(right, Num):
        value = int(right.value)
        if op in (">=", ">"):
            low[left.name] = value + (op == ">")
        else:
            high[left.name] = value + (op == "<=")


def _stride(expr: Expr, window: str) -> int | None:
    """The factor of the output variable in ``y * stride + k``; 1 if it is plain."""
    stride = 1
    for node in walk(expr):
        if isinstance(node, Call) and node.op == "*":
            left, right = node.args
            number = right if isinstance(right, Num) else left
            if not isinstance(number, Num) or any(isinstance(n, Var) and n.name == window for n in walk(node)):
                return None
            stride = max(stride, int(number.value))
    return stride


def _interval(expr: Expr, extents: dict[str, int | None]) -> tuple[int, int] | None:
    """Smallest and largest value of an index expression; None where a variable's extent is open."""
    if isinstance(expr, Num):
        return int(expr.value), int(expr.value)
    if isinstance(expr, Var):
        extent = extents.get(expr.name)
        return None if extent is None else (0, extent - 1)
    if not isinstance(expr, Call):
        return None
    args = [_interval(arg, extents) for arg in expr.args]
    known = [arg for arg in args if arg is not None]
    if len(known) != len(args):
        return None
    if expr.op.startswith("cast:int"):
        return known[0]
    if len(known) != 2:
        return None
    (a0, a1), (b0, b1) = known
    if expr.op == "+":
        return a0 + b0, a1 + b1
    if expr.op == "-":
        return a0 - b1, a1 - b0
    if expr.op == "*":
        corners = (a0 * b0, a0 * b1, a1 * b0, a1 * b1)
        return min(corners), max(corners)
    if expr.op in ("//", "/") and b0 == b1 and b0 > 0:
        return a0 // b0, a1 // b0
    if expr.op == "%" and b0 == b1 and b0 > 0:
        return (a0, a1) if a0 >= 0 and a1 < b0 else (0, b0 - 1)
    if expr.op == "min":
        return min(a0, b0), min(a1, b1)
    if expr.op == "max":
        return max(a0, b0), max(a1, b1)
    return None
