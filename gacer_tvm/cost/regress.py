"""What predicts a logarithm from features: boosted trees, and the two plain ways that they must beat."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import LogError

__all__ = ["Linear", "Nearest", "Scores", "Trees", "scores_of"]

Array = NDArray[np.float64]


class Scores(msgspec.Struct, frozen=True):
    """How well times were predicted: mean and median absolute error as a share of the measured time, rank correlation, rows."""

    mape: float
    median: float
    spearman: float
    rows: int

    def __str__(self) -> str:
        return f"MAPE {self.mape:6.1%}, median {self.median:6.1%}, Spearman {self.spearman:.3f} ({self.rows} rows)"


def scores_of(predicted: Array, measured: Array) -> Scores:
    """Scores of predictions."""
    if not len(measured):
        return Scores(float("nan"), float("nan"), float("nan"), 0)
    error = np.abs(predicted / measured - 1.0)
    rho = 1.0
    if len(measured) > 1:
        from scipy.stats import rankdata

        left, right = rankdata(predicted), rankdata(measured)
        spread = float(left.std() * right.std())
        rho = float(((left - left.mean()) * (right - right.mean())).mean() / spread) if spread > 0 else 0.0
    return Scores(round(float(error.mean()), 4), round(float(np.median(error)), 4), round(rho, 4), len(measured))


class Trees:
    """xgboost on logarithms.

    Parameters
    ----------
    rounds, depth, seed
        Trees, their depth, and the seed of their samples; the same seed gives the same model.
    """

    def __init__(self, rounds: int = 600, depth: int = 6, seed: int = 0) -> None:
        self.rounds, self.depth, self.seed = rounds, depth, seed
        self._booster: Any = None

    def fit(self, features: Array, target: Array, weight: Array | None = None) -> Trees:
        """Train."""
        import xgboost

        data = xgboost.DMatrix(features.astype(np.float32), label=target, weight=weight)
        given = {
            # A few kernels that nothing like them was seen of must not bend the rest.
            "objective": "reg:absoluteerror",
            "max_depth": self.depth,
            "eta": 0.08,
            "subsample": 0.8,
            "colsample_bytree": 0.6,
            "min_child_weight": 3,
            "seed": self.seed,
            "nthread": 1,
            "verbosity": 0,
        }
        self._booster = xgboost.train(given, data, num_boost_round=self.rounds)
        return self

    def predict(self, features: Array) -> Array:
        """Predict a batch."""
        found = self._booster.inplace_predict(np.ascontiguousarray(features, np.float32))
        return np.asarray(found, np.float64)

    def to_json(self) -> Any:
        """xgboost's own JSON."""
        return json.loads(bytes(self._booster.save_raw("json")))

    @staticmethod
    def from_json(value: Any, features: int) -> Trees:
        """Trees that `to_json` gave.

        Raises
        ------
        LogError
            Where it is none, or of another number of features.
        """
        import xgboost

        made = Trees()
        made._booster = xgboost.Booster({"nthread": 1, "verbosity": 0})
        try:
            made._booster.load_model(bytearray(json.dumps(value).encode()))
            found = int(made._booster.num_features())
        except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
            raise LogError(f"the cost model's trees cannot be read: {str(error).splitlines()[0]}; train it again") from error
        if found != features:
            raise LogError(f"the cost model's trees are over {found} features, expected {features}; train it again")
        return made


class Linear:
    """Ridge regression on standardized features."""

    def fit(self, features: Array, target: Array, weight: Array | None = None) -> Linear:
        """Train."""
        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + 1e-9
        table = np.c_[(features - self._mean) / self._scale, np.ones(len(features))]
        ridge = np.eye(table.shape[1]) * 1e-3 * len(table)
        ridge[-1, -1] = 0.0
        self._weights = np.linalg.solve(table.T @ table + ridge, table.T @ target)
        return self

    def predict(self, features: Array) -> Array:
        """Predict a batch."""
        table = np.c_[(features - self._mean) / self._scale, np.ones(len(features))]
        result: Array = table @ self._weights
        return result


class Nearest:
    """The measurement whose standardized features are nearest."""

    def fit(self, features: Array, target: Array, weight: Array | None = None) -> Nearest:
        """Remember."""
        from scipy.spatial import cKDTree

        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + 1e-9
        self._tree, self._target = cKDTree((features - self._mean) / self._scale), target
        return self

    def predict(self, features: Array) -> Array:
        """Look up a batch."""
        _, at = self._tree.query((features - self._mean) / self._scale)
        result: Array = self._target[at]
        return result


@dataclass(frozen=True)
class Range:
    """Least and greatest value of each feature in training, widened: by a factor of two for sizes, not at all for flags."""

    low: Array
    high: Array

    @staticmethod
    def of(features: Array, flags: NDArray[np.bool_]) -> Range:
        """The range of a training set."""
        margin = np.where(flags, 1e-6, 1.0)
        return Range(features.min(axis=0) - margin, features.max(axis=0) + margin)

    def inside(self, features: Array) -> NDArray[np.bool_]:
        """Which rows are inside in every feature."""
        return np.asarray(((features >= self.low) & (features <= self.high)).all(axis=1), np.bool_)
