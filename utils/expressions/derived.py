"""New variables that may use one another."""

from collections.abc import Iterable, Mapping

from utils.errors import ExpressionError, MissingColumnError, nearest_name
from utils.expressions.expression import Column, Expression
from utils.expressions.functions import CONSTANTS


class DerivedVariables:
    """Definitions of new variables, in any order.

    A definition with the name of a branch takes its place for all others, while its own text means the branch:
    ``njets: clip(njets, 0, 5)`` is no cycle.

    >>> derived = DerivedVariables({"mt": "sqrt(mt2)", "mt2": "2*pt*met*(1 - cos(dphi))"})
    >>> sorted(derived.needs(["mt", "run"]))
    ['dphi', 'met', 'pt', 'run']

    Parameters
    ----------
    definitions : name to text. Raises ExpressionError where a text cannot be parsed or where definitions need one
        another in a cycle.
    where : the config key of the definitions, for errors.
    """

    def __init__(self, definitions: Mapping[str, str], *, where: str = "new_variables") -> None:
        for name in definitions:
            if name in CONSTANTS:
                raise ExpressionError(
                    f"'{name}' is a constant of the language", where=f"{where}.{name}", remedy="Choose another name."
                )
        self.expressions: Mapping[str, Expression] = {
            name: Expression.parse(str(text), where=f"{where}.{name}") for name, text in definitions.items()
        }
        self._order: dict[str, None] = {}  # every definition after those it uses
        for name in self.expressions:
            self._visit(name, (), where)

    def _visit(self, name: str, path: tuple[str, ...], where: str) -> None:
        if name in path:
            cycle = " → ".join([*path[path.index(name) :], name])
            raise ExpressionError(
                f"new variables need one another in a cycle: {cycle}",
                where=where,
                remedy="Define one of them by branches alone.",
            )
        if name in self._order:
            return
        for used in self._derived_used(name):
            self._visit(used, (*path, name), where)
        self._order[name] = None

    def _derived_used(self, name: str) -> list[str]:
        return sorted(used for used in self.expressions[name].uses if used in self.expressions and used != name)

    def needs(self, names: Iterable[str]) -> frozenset[str]:
        """The branches that must be read to have all `names`; a name without a definition is itself a branch."""
        names = list(names)
        wanted = self._closure(names)
        branches = {name for name in names if name not in self.expressions}
        for name in wanted:
            branches |= {used for used in self.expressions[name].uses if used == name or used not in self.expressions}
        return frozenset(branches)

    def _closure(self, names: Iterable[str]) -> set[str]:
        wanted: set[str] = set()
        waiting = [name for name in names if name in self.expressions]
        while waiting:
            name = waiting.pop()
            if name not in wanted:
                wanted.add(name)
                waiting += self._derived_used(name)
        return wanted

    def compute(
        self, names: Iterable[str], columns: Mapping[str, Column], n_events: int | None = None
    ) -> dict[str, Column]:
        """All `names` for these columns, each definition evaluated once; a name without a definition is the column
        itself.

        Raises MissingColumnError where a branch is not among the columns, ExpressionError where values do not fit an
        operation.
        """
        names = list(names)
        wanted = self._closure(names)
        available = dict(columns)
        values: dict[str, Column] = {}
        for name in self._order:
            if name in wanted:
                values[name] = self.expressions[name].evaluate(available, n_events)
                available[name] = values[name]  # from here on, in the place of a branch of that name
        return {name: values[name] if name in values else _branch(name, columns) for name in names}


def _branch(name: str, columns: Mapping[str, Column]) -> Column:
    if name not in columns:
        raise MissingColumnError(
            f"no branch '{name}'",
            nearest=nearest_name(name, columns),
            remedy="Correct the name, or define it in new_variables.",
        )
    return columns[name]
