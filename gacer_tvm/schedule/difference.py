"""What tells two schedules apart, in words."""

from __future__ import annotations

from .schedule import Schedule, TenantSchedule

__all__ = ["difference"]


def difference(left: Schedule, right: Schedule) -> list[str]:
    """Lines that each name one difference; empty for schedules that do the same (provenance aside)."""
    lines = []
    for field in ("graph", "device", "format"):
        a, b = getattr(left, field), getattr(right, field)
        if a != b:
            lines.append(f"{field}: {a} | {b}")
    if left.streams != right.streams:
        lines.append(f"streams: {_streams(left)} | {_streams(right)}")
    theirs = {t.name: t for t in right.tenants}
    for tenant in left.tenants:
        other = theirs.pop(tenant.name, None)
        if other is None:
            lines.append(f"tenant {tenant.name!r}: only on the left")
        else:
            lines += _tenant(tenant, other)
    lines += [f"tenant {name!r}: only on the right" for name in theirs]
    if left.order != right.order:
        a, b = list(left.issue()), list(right.issue())
        first = next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        lines.append(f"order of issue: differs from launch {first} on")
    for wait in left.waits:
        if wait not in right.waits:
            lines.append(f"wait {wait.before} -> {wait.after}: only on the left")
    for wait in right.waits:
        if wait not in left.waits:
            lines.append(f"wait {wait.before} -> {wait.after}: only on the right")
    return lines


def _tenant(left: TenantSchedule, right: TenantSchedule) -> list[str]:
    lines = []
    for field in ("stream", "pointers"):
        a, b = getattr(left, field), getattr(right, field)
        if a != b:
            lines.append(f"tenant {left.name!r}, {field}: {a} | {b}")
    for position in sorted({*left.splits, *right.splits}):
        a, b = left.splits.get(position), right.splits.get(position)
        if a != b:
            lines.append(f"tenant {left.name!r}, operator {position}: chunks {a or 'whole'} | {b or 'whole'}")
    for position in sorted({*left.placement, *right.placement}):
        a, b = left.streams_at(position), right.streams_at(position)
        if a != b:
            lines.append(f"tenant {left.name!r}, operator {position}: streams {a} | {b}")
    return lines


def _streams(schedule: Schedule) -> str:
    parts = []
    for stream in schedule.streams:
        cores = "all" if not stream.cores else "/".join(map(str, stream.cores))
        parts.append(cores + (f" priority {stream.priority}" if stream.priority else ""))
    return f"{len(schedule.streams)} (cores {', '.join(parts)})"
