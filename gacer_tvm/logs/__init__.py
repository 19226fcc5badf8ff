"""Old tuning logs: auto-scheduler (Ansor), AutoTVM and TopHub, MetaSchedule before 0.20: read, learned from, replayed.

`read_logs` turns files into typed records, `summarize` says what they hold, `log_rows` makes them a table of features,
`write_rows` adds their kernel times to the cost model's data, `ScheduleLibrary` finds their schedules for today's kernels,
`convert` writes what replays as a MetaSchedule database.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .convert_database import Conversion, convert
    from .cost_rows import RowsWritten, write_rows
    from .data_rows import LogRow, log_rows
    from .identify import Dictionary, load_dictionary
    from .library import ScheduleLibrary, find_schedule
    from .reader import LogFile, LogSet, read_logs
    from .record import LogRecord
    from .replay import NotReplayed, Replayed
    from .summary import LogSummary, summarize

# Reading needs no TVM; what replays imports it when it is first asked for.
_PLACES = {
    "Conversion": "convert_database",
    "Dictionary": "identify",
    "LogFile": "reader",
    "LogRecord": "record",
    "LogRow": "data_rows",
    "LogSet": "reader",
    "LogSummary": "summary",
    "NotReplayed": "replay",
    "Replayed": "replay",
    "RowsWritten": "cost_rows",
    "ScheduleLibrary": "library",
    "convert": "convert_database",
    "find_schedule": "library",
    "load_dictionary": "identify",
    "log_rows": "data_rows",
    "read_logs": "reader",
    "summarize": "summary",
    "write_rows": "cost_rows",
}

__all__ = [
    "Conversion",
    "Dictionary",
    "LogFile",
    "LogRecord",
    "LogRow",
    "LogSet",
    "LogSummary",
    "NotReplayed",
    "Replayed",
    "RowsWritten",
    "ScheduleLibrary",
    "convert",
    "find_schedule",
    "load_dictionary",
    "log_rows",
    "read_logs",
    "summarize",
    "write_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value
