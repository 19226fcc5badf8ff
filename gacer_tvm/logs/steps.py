"""The transform steps of the auto-scheduler (Ansor), typed and checked: numbers only, nothing is looked up or run.

A stage or an iterator is named by its index in the state *at that moment*; `replay` follows the indices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = [
    "Annotate",
    "AnsorSchedule",
    "BadStep",
    "CacheRead",
    "CacheWrite",
    "ComputeAt",
    "ComputeInline",
    "ComputeRoot",
    "FollowFusedSplit",
    "FollowSplit",
    "Fuse",
    "Pragma",
    "Reorder",
    "RFactor",
    "Split",
    "Step",
    "StorageAlign",
    "parse_steps",
]

# No real log comes near these; they keep a mutated line from asking for the impossible.
MAX_INDEX = 4096
MAX_EXTENT = 1 << 40
MAX_STEPS = 4096

ANNOTATIONS = (
    "none",
    "unroll",
    "vectorize",
    "parallel",
    "vthread",
    "blockIdx.x",
    "threadIdx.x",
    "blockIdx.y",
    "threadIdx.y",
    "blockIdx.z",
    "threadIdx.z",
    "tensorize",
)


class BadStep(ValueError):
    """A step that is not of the documented form; internal to the readers, which count it."""


@dataclass(frozen=True, slots=True)
class Split:
    """``SP stage iter extent [lengths] inner_to_outer``: cut one loop into len(lengths) + 1."""

    stage: int
    axis: int
    extent: int
    lengths: tuple[int, ...]
    inner_to_outer: bool


@dataclass(frozen=True, slots=True)
class FollowSplit:
    """``FSP stage iter source parts``: split as step `source` did, its last lengths multiplied into one."""

    stage: int
    axis: int
    source: int
    parts: int


@dataclass(frozen=True, slots=True)
class FollowFusedSplit:
    """``FFSP stage iter [sources] level factor_or_nparts``: split by the product of the sources' lengths at `level`."""

    stage: int
    axis: int
    sources: tuple[int, ...]
    level: int
    inner: bool


@dataclass(frozen=True, slots=True)
class Fuse:
    """``FU stage [iters]``: join neighbouring loops."""

    stage: int
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reorder:
    """``RE stage [order]``: all loops of the stage, in their new order."""

    stage: int
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Annotate:
    """``AN stage iter kind``: unroll, vectorize, run in parallel, or bind to threads."""

    stage: int
    axis: int
    kind: str


@dataclass(frozen=True, slots=True)
class Pragma:
    """``PR stage iter text``: in practice ``auto_unroll_max_step$N``."""

    stage: int
    axis: int
    text: str


@dataclass(frozen=True, slots=True)
class ComputeAt:
    """``CA stage target iter``."""

    stage: int
    target: int
    axis: int


@dataclass(frozen=True, slots=True)
class ComputeInline:
    """``CI stage``."""

    stage: int


@dataclass(frozen=True, slots=True)
class ComputeRoot:
    """``CR stage``."""

    stage: int


@dataclass(frozen=True, slots=True)
class CacheRead:
    """``CHR stage scope [readers]``: a copy of `stage`, placed right after it."""

    stage: int
    scope: str
    readers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CacheWrite:
    """``CHW stage scope``: the computation takes index `stage`, the copy-out moves to the next index."""

    stage: int
    scope: str


@dataclass(frozen=True, slots=True)
class RFactor:
    """``RF stage iter position``: a reduction loop becomes a spatial axis of a new stage before this one."""

    stage: int
    axis: int
    position: int


@dataclass(frozen=True, slots=True)
class StorageAlign:
    """``SA stage iter factor offset``."""

    stage: int
    axis: int
    factor: int
    offset: int


Step = (
    Split
    | FollowSplit
    | FollowFusedSplit
    | Fuse
    | Reorder
    | Annotate
    | Pragma
    | ComputeAt
    | ComputeInline
    | ComputeRoot
    | CacheRead
    | CacheWrite
    | RFactor
    | StorageAlign
)


@dataclass(frozen=True, slots=True)
class AnsorSchedule:
    """The steps of one record; `layout_rewrite` is the task's option (0 none, 1 transform stage, 2 rewritten weights)."""

    steps: tuple[Step, ...]
    layout_rewrite: int = 0


def parse_steps(raw: object) -> tuple[Step, ...]:
    """Type the JSON list of steps.

    Raises
    ------
    BadStep
        For anything that is not a step of a documented form.
    """
    if not isinstance(raw, list):
        raise BadStep("the steps are not a list")
    if len(raw) > MAX_STEPS:
        raise BadStep("too many steps")
    return tuple(_parse_step(item, position) for position, item in enumerate(raw))


def _parse_step(item: object, position: int) -> Step:
    if not isinstance(item, list) or not item or not isinstance(item[0], str):
        raise BadStep("a step is not a list that begins with its name")
    form = _FORMS.get(item[0])
    if form is None:
        raise BadStep(f"unknown step {item[0][:8]!r}")
    make, kinds = form
    if len(item) - 1 != len(kinds):
        raise BadStep(f"step {item[0]} has {len(item) - 1} fields, not {len(kinds)}")
    values = [kind(value) for kind, value in zip(kinds, item[1:], strict=True)]
    step = make(*values)
    sources = (step.source,) if isinstance(step, FollowSplit) else getattr(step, "sources", ())
    if any(source >= position for source in sources):
        raise BadStep(f"step {item[0]} follows a later step")
    return step


def _index(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INDEX:
        raise BadStep("an index is not a small non-negative integer")
    return value


def _extent(value: object) -> int:
    # A split factor of zero would be "to be tuned": such a record was never measured.
    if type(value) is not int or not 0 <= value <= MAX_EXTENT:
        raise BadStep("an extent is not a non-negative integer")
    return value


def _signed(value: object) -> int:
    if type(value) is not int or abs(value) > MAX_EXTENT:
        raise BadStep("an offset is not an integer")
    return value


def _flag(value: object) -> bool:
    if value not in (0, 1):
        raise BadStep("a flag is neither 0 nor 1")
    return bool(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 64:
        raise BadStep("a name is not a short string")
    return value


def _list_of(kind: Callable[[object], int]) -> Callable[[object], tuple[int, ...]]:
    def parse(value: object) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) > 256:
            raise BadStep("a list of numbers is missing")
        return tuple(kind(item) for item in value)

    return parse


def _factors(value: object) -> tuple[int, ...]:
    factors = _list_of(_extent)(value)
    if any(factor == 0 for factor in factors):
        raise BadStep("a split factor is zero")
    return factors


def _annotation(value: object) -> str:
    if type(value) is not int or not 0 <= value < len(ANNOTATIONS):
        raise BadStep("an annotation is not one of the twelve known ones")
    return ANNOTATIONS[value]


_indices = _list_of(_index)

_FORMS: dict[str, tuple[Callable[..., Step], Sequence[Callable[[object], object]]]] = {
    "SP": (Split, (_index, _index, _extent, _factors, _flag)),
    "FSP": (FollowSplit, (_index, _index, _index, _index)),
    "FFSP": (FollowFusedSplit, (_index, _index, _indices, _index, _flag)),
    "FU": (Fuse, (_index, _indices)),
    "RE": (Reorder, (_index, _indices)),
    "AN": (Annotate, (_index, _index, _annotation)),
    "PR": (Pragma, (_index, _index, _text)),
    "CA": (ComputeAt, (_index, _index, _index)),
    "CI": (ComputeInline, (_index,)),
    "CR": (ComputeRoot, (_index,)),
    "CHR": (CacheRead, (_index, _text, _indices)),
    "CHW": (CacheWrite, (_index, _text)),
    "RF": (RFactor, (_index, _index, _index)),
    "SA": (StorageAlign, (_index, _index, _signed, _signed)),
}
