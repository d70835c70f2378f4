"""Errors that say what is wrong, where, what was probably meant, and what to do.

Every error a user can cause is a :class:`CrossfoldError`. The parts of its message are kept as attributes, so that a
notebook or a batch script can act on them without parsing text.
"""

import difflib
from collections.abc import Iterable


class CrossfoldError(ValueError):
    """An error that the user can mend.

    Parameters
    ----------
    what : what is wrong, as one sentence without its full stop.
    where : the file, tree, branch or config key it was found in.
    nearest : the valid name closest to the one that was given.
    remedy : what to do about it, as one imperative sentence.
    """

    def __init__(
        self, what: str, *, where: str | None = None, nearest: str | None = None, remedy: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.nearest = nearest
        self.remedy = remedy
        message = what if where is None else f"{what}, in {where}"
        if nearest is not None:
            message += f"; did you mean '{nearest}'?"
        if remedy is not None:
            message += ("" if message.endswith("?") else ".") + f" {remedy}"
        super().__init__(message)


class ConfigError(CrossfoldError):
    """A config key is unknown, missing, of the wrong type, or contradicts another."""


class ExpressionError(CrossfoldError):
    """A selection or a new variable cannot be parsed, or asks for something it may not do."""


class InputFileError(CrossfoldError):
    """A file, or a tree in it, is missing, unreadable, truncated or not what it should be."""


class MissingColumnError(CrossfoldError):
    """A branch or a column that is needed does not exist."""


class DataError(CrossfoldError):
    """The values are not usable: NaN, infinities, no events, a class without events."""


class WeightError(CrossfoldError):
    """Event weights that the chosen policy does not allow."""


class FoldError(CrossfoldError):
    """Folds that cannot be built, or that differ more than chance explains."""


class SkimError(CrossfoldError):
    """A skim that is not whole, or does not fit the model or the input it is used with."""


class RunError(CrossfoldError):
    """A tracked run that does not exist, was deleted, or did not finish."""


class OutputError(CrossfoldError):
    """An output that exists already, cannot be written, or failed its check."""


class ExecutorError(CrossfoldError):
    """Work that was not done: workers that die, or that cannot be reached."""


def nearest_name(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most similar to `name`, or None where nothing is similar."""
    known = list(candidates)
    lowered = {candidate.lower(): candidate for candidate in known}
    if name.lower() in lowered:
        return lowered[name.lower()]
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return matches[0] if matches else None
