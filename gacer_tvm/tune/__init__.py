"""Tune stage: schedules from tuning records, and MetaSchedule run over the kernels of a graph."""
