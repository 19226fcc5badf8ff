"""Simulation stage: a schedule on a device model; no device needed."""

from __future__ import annotations

from .simulator import Simulator, simulate
from .timeline import Score, Timeline

__all__ = ["Score", "Simulator", "Timeline", "simulate"]
