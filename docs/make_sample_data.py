"""Make the data of ``smoothl1 evaluate --sample``, in ``smoothl1/data``.

Out-of-fold predictions of a ridge regression for the diabetes data that scikit-learn
ships: 442 patients, ten baseline variables, disease progression one year later (Efron,
Hastie, Johnstone and Tibshirani, "Least Angle Regression", Ann. Statist. 32, 2004).

Run it with scikit-learn installed: ``python docs/make_sample_data.py``.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(__file__).parent.parent / "smoothl1" / "data"


def main():
    features, progression = load_diabetes(return_X_y=True, scaled=False)
    model = make_pipeline(StandardScaler(), Ridge(alpha=10.0))
    folds = KFold(n_splits=10, shuffle=True, random_state=0)
    predictions = cross_val_predict(model, features, progression, cv=folds)
    FOLDER.mkdir(exist_ok=True)
    # Four decimals are ample, and the same on every platform's linear algebra.
    np.save(FOLDER / "diabetes_predictions.npy", predictions.round(4))
    np.save(FOLDER / "diabetes_targets.npy", progression)


if __name__ == "__main__":
    main()
