"""A scikit-learn model in MLaaS4HEP's form: it need not know the number of inputs."""

from sklearn.ensemble import GradientBoostingClassifier


def model():
    """Trained on all events at once, as it cannot learn in chunks."""
    return GradientBoostingClassifier(n_estimators=100, max_depth=3, min_samples_leaf=50, random_state=1)
