"""Models that label: small classifiers, each trained on a few hundred labelled items of its owner's own.

Whatever they do not know (another kind of item, a label they never saw) they refuse instead of guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.subnets.labelling.features import featurise
from tercet.subnets.labelling.items import Item, own_digits, read_collection
from tercet.subnets.labelling.skills import Floats, Votes
from tercet.subnets.labelling.tasks import Batch

__all__ = ["MODELS", "ModelWorker"]

MODELS = ("knn", "logreg", "bayes", "tree")


class ModelWorker:
    """One trained model."""

    def __init__(self, model: Any, classes: Sequence[str], sample: Item) -> None:
        """See `train`."""
        self._model, self._classes, self._sample = model, tuple(classes), sample
        self._columns = {self._classes[label]: column for column, label in enumerate(model.classes_)}

    @classmethod
    def train(cls, name: str, own: str = "digits", seed: int = 0, count: int = 300) -> ModelWorker:
        """Learn from the owner's labelled items. Blocks for a moment; run it in a thread.

        Args:
            name: one of `MODELS`.
            own: digits, or a CSV file or folder of which some items are labelled.
            seed: which of the digits are the owner's, and the model's own chance.
            count: how many items it learns from, at most.

        Raises:
            SubnetError: scikit-learn is missing.
            UsageError: the owner's items cannot be read, or none are labelled.

        """
        if own == "digits":
            pairs, classes = own_digits(seed, count), tuple("0123456789")
        else:
            collection = read_collection(own)
            known, classes = collection.known_indices()[:count], collection.classes
            pairs = [(collection.items[at], collection.known[at]) for at in known]
        if len({label for _, label in pairs}) < 2:
            raise UsageError(f"A model needs items of two labels to learn from; {own} has too few. Label some more.")
        model = _build(name, seed)
        model.fit(featurise([item for item, _ in pairs]), [label for _, label in pairs])
        return cls(model, classes, pairs[0][0])

    def check(self, batch: Batch) -> None:
        """Refuse what the model never learned. Raises `TaskError`."""
        strange = [label for label in batch.labels if label not in self._columns]
        if strange:
            raise TaskError(f"This miner's model does not know the label {strange[0]!r}.")
        if any(self._form(item) != self._form(self._sample) for item in batch.items):
            raise TaskError(f"This miner's model looks at {self._sample.kind} items of one form only.")

    def label(self, batch: Batch) -> tuple[Votes, Floats]:
        """(items,) the most probable label of each, and its probability. Blocks."""
        chances = self._model.predict_proba(featurise(batch.items))
        chances = np.asarray(chances)[:, [self._columns[label] for label in batch.labels]]
        return chances.argmax(axis=1), np.clip(chances.max(axis=1), 0.0, 1.0)

    @staticmethod
    def _form(item: Item) -> tuple[str, int, int]:
        return item.kind, item.width, item.height


def _build(name: str, seed: int) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - heavy, and only for a miner that is a model
        from sklearn.naive_bayes import GaussianNB  # noqa: PLC0415
        from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415
        from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415
    except ImportError as error:
        raise SubnetError("Models that label need scikit-learn. Install it: pip install 'tercet[labelling]'") from error
    if name == "knn":
        return KNeighborsClassifier(3)
    if name == "logreg":
        return LogisticRegression(max_iter=500)
    if name == "bayes":
        return GaussianNB(var_smoothing=1e-2)
    return DecisionTreeClassifier(random_state=seed)
