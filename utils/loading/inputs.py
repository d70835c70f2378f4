"""What a network may see of the features: padding as zero with a mask beside it, and nothing that is no number."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError
from utils.loading.source import SkimData

_NAMED = 3


@dataclass(frozen=True)
class NetworkInputs:
    """The columns of a feature matrix.

    Parameters
    ----------
    names : of the F columns.
    padded : columns that are NaN where an event has fewer objects.
    """

    names: tuple[str, ...]
    padded: tuple[int, ...] = ()

    @classmethod
    def of(cls, data: SkimData) -> Self:
        """Those of a skim."""
        return cls(data.feature_names, data.padded_indices)

    def checked(
        self, features_NF: NDArray[np.float32], what: str
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Features with zero for padding, and (N, F) True where it is padding; None where no column is padded.

        Any other NaN or infinity is a DataError that names the input; `what` says which events these are.
        """
        finite_NF = np.isfinite(features_NF)
        if not self.padded:
            if not finite_NF.all():
                raise self._error(finite_NF, what)
            return features_NF, None
        columns = list(self.padded)
        mask_NF = np.zeros(features_NF.shape, bool)
        mask_NF[:, columns] = np.isnan(features_NF[:, columns])
        good_NF = finite_NF | mask_NF
        if not good_NF.all():
            raise self._error(good_NF, what)
        return np.where(mask_NF, np.float32(0), features_NF), mask_NF

    def _error(self, good_NF: NDArray[np.bool_], what: str) -> DataError:
        bad_F = (~good_NF).sum(axis=0)
        worst = [int(i) for i in np.argsort(-bad_F, kind="stable") if bad_F[i]]
        said = [f"'{self.names[i]}' for {bad_F[i]:,} of its {len(good_NF):,} events" for i in worst[:_NAMED]]
        more = f", and {len(worst) - _NAMED} inputs more" if len(worst) > _NAMED else ""
        return DataError(
            f"{what}: NaN or infinity in the input {', '.join(said)}{more}",
            where="cont_features",
            remedy="Cut such events, or give the variable a value there; objects that may be absent belong in "
            "padded_features.",
        )
