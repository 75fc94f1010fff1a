"""scikit-learn estimators that train on the arrays they are given: ``pip install "xpnet[sklearn]"``.

`rules` are scikit-learn's optimizers and losses where they differ from xpnet's, `fitting` is its training loop for one
network or many, `mlp` has the estimators.
"""

from __future__ import annotations

from xpnet.estimators.intervals import MLPIntervalRegressor
from xpnet.estimators.mlp import MLPClassifier, MLPRegressor
from xpnet.estimators.search import MLPGridSearchCV, MLPRandomizedSearchCV

__all__ = ["MLPClassifier", "MLPGridSearchCV", "MLPIntervalRegressor", "MLPRandomizedSearchCV", "MLPRegressor"]
