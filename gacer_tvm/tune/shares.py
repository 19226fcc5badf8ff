"""Tuning for company: where the records of each share of the machine lie.

A kernel that runs beside others has a share of the cores, and what is fastest on all of them need not be fastest on one. The
records of a folder itself are of kernels that have the whole machine; those for streams of N cores lie in ``cores-N`` in it, a
database of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .records import KernelNote, Records

__all__ = ["ShareRecords", "share_folder", "shares"]

_PREFIX = "cores-"


def share_folder(folder: Path, cores: int | None) -> Path:
    """Where the records for so many cores lie; None: the whole machine."""
    return folder if cores is None else folder / f"{_PREFIX}{cores}"


def shares(folder: Path) -> dict[int | None, Path]:
    """The databases of a folder by share, the whole machine's first."""
    found: dict[int | None, Path] = {None: folder}
    for path in sorted(folder.glob(f"{_PREFIX}*")):
        number = path.name.removeprefix(_PREFIX)
        if path.is_dir() and number.isdecimal():
            found[int(number)] = path
    return found


class ShareRecords:
    """The records of a folder, each share's opened when it is first asked for.

    Parameters
    ----------
    folder
        Where they lie; made if need be.
    units
        Cores of the whole machine.

    Attributes
    ----------
    whole
        Those of the whole machine.

    Raises
    ------
    LogError
        Where a folder cannot be made, or holds something else.
    """

    def __init__(self, folder: str | Path, units: int) -> None:
        self.whole = Records.open(folder)
        self._units = units
        self._of: dict[int, Records] = {units: self.whole}

    def of(self, cores: int) -> Records:
        """Those for streams of so many cores."""
        if cores not in self._of:
            self._of[cores] = Records.open(share_folder(self.whole.folder, cores))
        return self._of[cores]

    @property
    def notices(self) -> list[str]:
        """What had to be repaired."""
        return [notice for records in self._of.values() for notice in records.notices]

    def place(self, key: str, cores: int) -> str:
        """A kernel and its share as text, for `find`."""
        return key if cores == self._units else f"{key}@{cores}"

    def find(self, place: str) -> tuple[Records, str]:
        """The records and the workload key of a `place`."""
        key, _, cores = place.partition("@")
        return (self.of(int(cores)) if cores else self.whole), key

    def known(self, places: Iterable[str]) -> list[tuple[KernelNote, int]]:
        """Note and number of trials of each kernel that has a note."""
        found = [self.find(place) for place in places]
        return [(r.kernels[key], r.count(key)) for r, key in found if key in r.kernels]

    def enough(self, place: str, trials: int) -> bool:
        """See `Records.enough`."""
        records, key = self.find(place)
        return records.enough(key, trials)

    def save_notes(self) -> None:
        """Write the notes of all that was opened."""
        for records in self._of.values():
            records.save_notes()
