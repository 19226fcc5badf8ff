"""From the figures of a model's drift to one plain sentence: all is well, or what to measure or train again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Evidence", "verdict_of", "wrong"]

# An error is beyond the one held out from this factor on; below the floor nothing is called wrong, and by few rows neither.
_BEYOND = 1.5
_FLOOR = 0.10
_FEW = 5
# Times of one kernel that differ by more than this are of another machine, or of another state of it.
_CHANGED = 1.25
# Load a core from which on others must have been at work.
_BUSY = 2.0

Figures = tuple[int, float, float]
"""Rows, mean relative error, median bias."""


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on.

    Attributes
    ----------
    place, device, cores
        Where the data lies; the device and its cores (0: no CPU).
    trained, why
        When the model was trained; why there is none, or none that can be judged.
    held_kernel, held_group
        Its held-out errors.
    kernels, groups
        The model on kernels and groups measured since.
    learned, measured
        Makespans: as the model by itself predicts them, and with kernels measured on the spot.
    planned
        Makespans measured, whoever predicted them.
    kinds
        Kinds of kernel that it is wrong about.
    slower
        Kernels measured before and after, and how much longer they take now.
    load
        Load average while makespans were measured; below 0 where unknown.
    elsewhere
        New rows from other people's logs.
    """

    place: str
    device: str
    cores: int
    trained: str
    why: str
    held_kernel: float
    held_group: float
    kernels: Figures
    groups: Figures
    learned: Figures
    measured: Figures
    planned: int
    kinds: tuple[str, ...]
    slower: tuple[int, float]
    load: float
    elsewhere: int


def wrong(error: float, held_out: float, rows: int) -> bool:
    """Whether an error is clearly beyond the one held out, and rests on more than a few rows."""
    return rows >= _FEW and held_out > 0 and error > max(held_out * _BEYOND, _FLOOR)


def verdict_of(e: Evidence) -> tuple[bool | None, str]:
    """Whether the model is fine (None: there is nothing to tell by), and the sentence."""
    if not e.trained or e.why:
        return None, f"No model to judge: {e.why}. Train one: gacer-tvm train {e.place}.{_measured(e)}"
    if not e.kernels[0] and not e.groups[0] and not e.learned[0]:
        more = f" ({e.elsewhere} rows from elsewhere are not judged by)" if e.elsewhere else ""
        return None, (
            f"Nothing was measured since the model was trained{more}: build, search or bench with --record {e.place}, or go on "
            f"with gacer-tvm profile.{_measured(e)}"
        )
    faults, advice = _faults(e)
    if not faults:
        said = [
            f"{what} are off by {error:.0%}"
            for what, (rows, error, _) in (("kernel times", e.kernels), ("groups", e.groups), ("makespans", e.learned))
            if rows
        ]
        few = max(e.kernels[0], e.groups[0], e.learned[0]) < _FEW
        return (None if few else True), (
            f"{'Too few rows to tell, but so far f' if few else 'F'}ine: {', '.join(said)}; held out the model was off by "
            f"{e.held_kernel:.0%} a kernel, {e.held_group:.0%} a group."
        )
    if e.cores and e.load > _BUSY * e.cores:
        advice.append(f"the machine was busy then (load {e.load:.1f} on {e.cores} cores): measure again when it is quiet, first")
    return False, f"Wrong: {'; '.join(faults)}. What to do: {'; '.join(reversed(advice))}."


def _measured(e: Evidence) -> str:
    return f" With kernels measured on the spot, makespans are off by {e.measured[1]:.0%}." if e.measured[0] else ""


def _faults(e: Evidence) -> tuple[list[str], list[str]]:
    """What is wrong, and what to do about it, the weightiest last."""
    faults: list[str] = []
    advice: list[str] = []
    again = f"learn from what is new: gacer-tvm train --update {e.place}"
    if wrong(e.kernels[1], e.held_kernel, e.kernels[0]):
        faults.append(f"kernel times are off by {e.kernels[1]:.0%} ({e.kernels[2]:+.0%}), held out it was {e.held_kernel:.0%}")
        advice.append(again)
    elif e.kinds:
        advice.append(again)
    if e.kinds:
        faults.append(f"most of all for kernels with {e.kinds[0]}" if faults else f"for kernels with {e.kinds[0]}")
    if wrong(e.groups[1], e.held_group, e.groups[0]):
        faults.append(f"groups are off by {e.groups[1]:.0%}, held out it was {e.held_group:.0%}")
        if again not in advice:
            advice.append(again)
    if wrong(e.learned[1], e.held_kernel, e.learned[0]):
        faults.append(f"makespans are off by {e.learned[1]:.0%} ({e.learned[2]:+.0%})")
        if wrong(e.measured[1], e.held_group, e.measured[0]):
            faults[-1] += f", and by {e.measured[1]:.0%} even with kernels measured on the spot"
            advice.append("measure groups of these models: gacer-tvm profile")
        elif again not in advice:
            advice.append(again)
    count, ratio = e.slower
    if count >= _FEW and not 1 / _CHANGED < ratio < _CHANGED:
        faults.append(f"{count} kernels measured before and after take {ratio:.2f} times as long as they did")
        advice.append(
            f"{e.device} is not what it was: profile it into a new folder and train there, where old rows do not contradict"
        )
    return faults, advice
