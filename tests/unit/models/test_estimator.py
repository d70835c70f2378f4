"""Saved estimators come back in another process, a user's own class with the file it came from."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.skims import open_skim, toy_events
from utils.errors import RunError
from utils.factory import Factory
from utils.loading import EventSource, SkimData
from utils.models.estimator import load_estimator, save_estimator

ROOT = Path(__file__).parents[3]
N = 100

PRIOR = '''
import json
import numpy as np

class Prior:
    """Predicts the share of every class."""
    libraries, n_iterations = (), None

    def __init__(self, params):
        self.shares = []

    def fit(self, train, valid, monitor):
        counts = np.bincount(train.target_N, minlength=train.data.n_classes)
        self.shares = (counts / counts.sum()).tolist()

    def predict(self, features_NF):
        return np.tile(np.array(self.shares, np.float32), (len(features_NF), 1))

    def importances(self):
        return {}

    def save(self, folder):
        (folder / "shares.json").write_text(json.dumps(self.shares))

    @classmethod
    def load(cls, folder):
        loaded = cls({})
        loaded.shares = json.loads((folder / "shares.json").read_text())
        return loaded
'''
FOREST = "from sklearn.ensemble import RandomForestClassifier\n\nclass Forest(RandomForestClassifier):\n    pass\n"
ELSEWHERE = """
import json, sys
from pathlib import Path
import numpy as np
from utils.models.estimator import load_estimator
features = np.load(sys.argv[2])
print(json.dumps(load_estimator(Path(sys.argv[1])).predict(features).tolist()))
"""


@pytest.mark.parametrize("kind", ["estimator", "scikit-learn"])
def test_a_model_from_a_file_of_the_users_own_needs_that_file_no_more(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "mine.py"
    source.write_text(PRIOR if kind == "estimator" else FOREST)
    if kind == "estimator":
        made = Factory(f"{source}:Prior")(params={})
    else:
        params = {"_target_": f"{source}:Forest", "n_estimators": 3, "random_state": 1}
        made = Factory("utils.models.sklearn.SklearnEstimator")(params=params)
    with open_skim(tmp_path / "train.h5", toy_events(N, n_classes=3)) as skim:
        data = SkimData.open(skim)
        rows_N = np.arange(N)
        made.fit(EventSource(data, rows_N[::2]), EventSource(data, rows_N[1::2]), lambda step, values: None)
        features_NF = data.features(0, N)
    save_estimator(made, tmp_path / "saved")
    np.save(tmp_path / "features.npy", features_NF)
    source.unlink()
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "saved"), str(tmp_path / "features.npy")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    np.testing.assert_array_equal(np.array(json.loads(found.stdout), np.float32), made.predict(features_NF))


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no saved estimator"):
        load_estimator(tmp_path)
