"""Search stage: the best schedule under a cost model."""

from __future__ import annotations

from .bound import Bounds, lower_bounds
from .measured import search_measured
from .result import InfeasibleError, Ranked, SearchResult
from .search import search
from .space import Space, make_space

__all__ = [
    "Bounds",
    "InfeasibleError",
    "Ranked",
    "SearchResult",
    "Space",
    "lower_bounds",
    "make_space",
    "search",
    "search_measured",
]
