"""An expression: parsed once, evaluated on many chunks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from utils.errors import MissingColumnError, nearest_name
from utils.expressions.nodes import Literal, Node
from utils.expressions.parser import parse
from utils.expressions.text import Problem, Source
from utils.expressions.values import fill_missing, is_conditions, settle

if TYPE_CHECKING:
    import awkward as ak

Column: TypeAlias = Union[npt.NDArray[Any], "ak.Array"]


@dataclass(frozen=True)
class Expression:
    """A selection or a new variable as text.

    >>> expression = Expression.parse("sqrt(2*pt*met*(1 - cos(dphi)))")
    >>> sorted(expression.uses)
    ['dphi', 'met', 'pt']

    Parameters
    ----------
    text : the expression as it was written.
    uses : the branches it needs, neither functions nor constants.
    where : the config key it comes from, for errors.
    """

    text: str
    uses: frozenset[str]
    where: str | None = None
    _tree: Node = field(default=Literal(True), repr=False)

    @classmethod
    def parse(cls, text: str, *, where: str | None = None) -> Self:
        """Parse `text` against the allow-list; raises ExpressionError with the place and the remedy."""
        try:
            tree, uses = parse(text)
        except Problem as problem:
            raise Source(text, where).error(problem) from problem.__cause__
        return cls(text, uses, where, tree)

    def evaluate(self, columns: Mapping[str, Column], n_events: int | None = None) -> Column:
        """The value of the expression.

        Parameters
        ----------
        columns : name to (N,) NumPy array, flat or jagged Awkward array; fixed-size lists (N, M) count as jagged.
            Never modified.
        n_events : N, needed only where the expression is a constant and `columns` is empty.

        Returns
        -------
        (N,) NumPy array where the result is flat, else a jagged Awkward array. A bare name gives the column itself,
        not a copy. Missing values become NaN in numbers and False in conditions. NaN and infinities are passed on
        without a warning; comparisons with NaN are False, except ``!=``.

        Raises
        ------
        MissingColumnError : a branch is not among the columns.
        ExpressionError : the values do not allow the operation.
        """
        try:
            with np.errstate(all="ignore"):
                value = fill_missing(self._tree.evaluate(_Columns(columns, self)))
        except Problem as problem:
            raise Source(self.text, self.where).error(problem) from problem.__cause__
        if isinstance(value, np.generic | bool | int | float):
            return np.full(self._length(columns, n_events), value)
        return value

    def _length(self, columns: Mapping[str, Column], n_events: int | None) -> int:
        if n_events is not None:
            return n_events
        for name in columns:
            return len(columns[name])
        raise Source(self.text, self.where).error(
            Problem("a constant has no length of its own", remedy="Give n_events, or a column.")
        )

    def evaluate_mask(self, columns: Mapping[str, Column], n_events: int | None = None) -> npt.NDArray[np.bool_]:
        """The expression as a selection: (N,) bool, False where a NaN or a missing value decides.

        The constants 1 and 0 select all and nothing. Raises ExpressionError where the value is a number or is jagged.
        """
        if isinstance(self._tree, Literal) and self._tree.value in (0, 1):
            return np.full(self._length(columns, n_events), bool(self._tree.value))
        value = self.evaluate(columns, n_events)
        problem: Problem | None = None
        if not isinstance(value, np.ndarray):
            problem = Problem(
                "this has a value for every object, and a cut needs one per event", remedy="Use any(…) or all(…)."
            )
        elif not is_conditions(value):
            problem = Problem(
                f"this is a number ({value.dtype}), not a condition",
                remedy="Compare it, such as (x > 0), and join conditions with & and |.",
            )
        if problem is not None:
            raise Source(self.text, self.where).error(problem)
        assert isinstance(value, np.ndarray)
        return value


def parse_cut(text: str | bool | int | float | None, *, where: str | None = None) -> Expression:
    """A cut as it stands in YAML: an expression, or nothing (None, an empty text), which selects all events."""
    if text is None or not str(text).strip():
        return Expression.parse("True", where=where)
    return Expression.parse(str(text), where=where)


class _Columns:
    """The columns of one evaluation, each brought once into the form that nodes work on."""

    def __init__(self, columns: Mapping[str, Column], expression: Expression) -> None:
        self._columns = columns
        self._expression = expression
        self._settled: dict[str, Any] = {}

    def column(self, name: str) -> Any:
        if name not in self._settled:
            if name not in self._columns:
                raise MissingColumnError(
                    f"no branch '{name}' for '{Source(self._expression.text).excerpt()}'",
                    where=self._expression.where,
                    nearest=nearest_name(name, self._columns),
                    remedy="Correct the name, or add the branch to what is read.",
                )
            self._settled[name] = settle(self._columns[name])
        return self._settled[name]
