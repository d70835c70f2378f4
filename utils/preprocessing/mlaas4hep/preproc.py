"""preproc.json: new branches and cuts, in the language of :mod:`utils.expressions`."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from utils.errors import ConfigError, ExpressionError, nearest_name
from utils.expressions import Expression
from utils.preprocessing.mlaas4hep.params import load_json

SECTIONS = ("new_branch", "flat_cut", "jagged_cut")
_OF_NEW = ("def", "type", "remove", "keys_to_remove")


@dataclass(frozen=True)
class Preprocessing:
    """What preproc.json asks for.

    Parameters
    ----------
    new_variables : name → definition.
    types : name of a new variable → `flat` or `jagged`.
    cuts : conditions on events, all of which must hold.
    of_kind : branch that is cut on → `flat` or `jagged`, as the file's sections say.
    removed : branches that are no features.
    """

    new_variables: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    cuts: tuple[str, ...] = ()
    of_kind: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    @classmethod
    def load(cls, path: str) -> Self:
        """Read preproc.json; ConfigError or ExpressionError where an entry cannot be translated, with its name."""
        return cls.from_dict(load_json(path, "preproc"), path)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str) -> Self:
        """Translate; `where` names the file."""
        entries = list(_entries(content, where))
        new = [entry for entry in entries if entry.section == "new_branch"]
        return cls(
            new_variables={entry.name: entry.definition() for entry in new},
            types={entry.name: entry.kind for entry in new},
            cuts=tuple(cut for entry in entries for cut in entry.cuts()),
            of_kind={entry.name: entry.kind for entry in entries if entry.section != "new_branch"},
            removed=frozenset(name for entry in entries for name in entry.removed()),
        )

    @property
    def cut(self) -> str | None:
        """All cuts as one; None without any."""
        return " & ".join(f"({cut})" for cut in self.cuts) or None

    @property
    def uses(self) -> frozenset[str]:
        """Everything the cuts need by name."""
        return frozenset().union(*(Expression.parse(cut).uses for cut in self.cuts))


def _entries(content: Mapping[str, Any], where: str) -> Iterator["_Entry"]:
    for section, bodies in content.items():
        if section not in SECTIONS:
            raise ConfigError(
                f"unknown section '{section}'",
                where=where,
                nearest=nearest_name(section, SECTIONS),
                remedy=f"There are {', '.join(SECTIONS)}.",
            )
        if not isinstance(bodies, Mapping):
            raise ConfigError(f"'{section}' must be a mapping of branches", where=where)
        for name, body in bodies.items():
            entry = _Entry(section, str(name), body, f"{where}: {section}.{name}")
            entry.check()
            yield entry


@dataclass(frozen=True)
class _Entry:
    """One branch of one section."""

    section: str
    name: str
    body: Any
    where: str

    @property
    def kind(self) -> str:
        """`flat` or `jagged`."""
        return str(self.body["type"]) if self.section == "new_branch" else self.section.removesuffix("_cut")

    @property
    def _cut_keys(self) -> list[str]:
        return [key for key in self.body if key == "cut" or key.startswith("cut_")]

    def check(self) -> None:
        if not isinstance(self.body, Mapping):
            raise ConfigError(f"an entry is a mapping, not {self.body!r}", where=self.where)
        known = (*(_OF_NEW if self.section == "new_branch" else ("remove",)), "cut")
        for key in self.body:
            if key not in known and key not in self._cut_keys:
                raise ConfigError(
                    f"unknown key '{key}'",
                    where=self.where,
                    nearest=nearest_name(key, known),
                    remedy=f"Known keys: {', '.join(known)}, and cut_1, cut_2, ….",
                )
        if self.section == "new_branch":
            for key in ("def", "type"):
                if not isinstance(self.body.get(key), str):
                    raise ConfigError(f"'{key}' is missing", where=self.where, remedy=f"Add {key} as a text.")
            if self.kind not in ("flat", "jagged"):
                raise ConfigError(f"'type' is {self.kind!r}", where=self.where, remedy="Use flat or jagged.")

    def definition(self) -> str:
        return _translated(self.body["def"], f"{self.where}.def")

    def cuts(self) -> Iterator[str]:
        """Conditions per event. Those on objects say whether any or all of them must fulfil it."""
        for key in self._cut_keys:
            where, value = f"{self.where}.{key}", self.body[key]
            if self.kind == "flat":
                if not isinstance(value, str):
                    raise ConfigError(
                        f"the cut of a flat branch is a text, not {value!r}", where=where, remedy='Write "x > 3".'
                    )
                yield _translated(value, where)
                continue
            if (
                not isinstance(value, list | tuple)
                or len(value) != 2
                or not isinstance(value[0], str)
                or value[1] not in ("any", "all")
            ):
                raise ConfigError(
                    f"the cut of a jagged branch is [condition, any or all], not {value!r}",
                    where=where,
                    remedy='Write ["x > 3", "any"].',
                )
            yield f"{value[1]}({_translated(value[0], where)})"

    def removed(self) -> Iterator[str]:
        """Names that `remove` and `keys_to_remove` take out of the features."""
        remove = self.body.get("remove", False)
        if remove not in (True, False, "True", "False", "true", "false"):
            raise ConfigError(f"'remove' is {remove!r}", where=self.where, remedy='Use "True" or "False".')
        if str(remove).lower() == "true":
            yield self.name
        names = self.body.get("keys_to_remove", [])
        if not isinstance(names, list):
            raise ConfigError(f"'keys_to_remove' is {names!r}", where=self.where, remedy="Write a list of branches.")
        yield from map(str, names)


def _translated(text: str, where: str) -> str:
    """The expression in our language: MLaaS4HEP's may chain comparisons and join them by words."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is not None and any(_is_foreign(node) for node in ast.walk(tree)):
        text = ast.unparse(ast.fix_missing_locations(_Joined().visit(tree)))
    try:
        Expression.parse(text)
    except ExpressionError as error:
        raise ExpressionError(error.what, where=where, nearest=error.nearest, remedy=error.remedy) from error
    return text


def _is_foreign(node: ast.AST) -> bool:
    return isinstance(node, ast.BoolOp | ast.Not) or (isinstance(node, ast.Compare) and len(node.ops) > 1)


class _Joined(ast.NodeTransformer):
    """`1 <= x <= 16` and `a and not b` as comparisons joined by `&`, `|` and `~`."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        sides = [node.left, *node.comparators]
        pairs: list[ast.expr] = [
            ast.Compare(left, [op], [right]) for left, op, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return _chained(pairs, ast.BitAnd())

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        return _chained(node.values, ast.BitAnd() if isinstance(node.op, ast.And) else ast.BitOr())

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return ast.UnaryOp(ast.Invert(), node.operand) if isinstance(node.op, ast.Not) else node


def _chained(parts: list[ast.expr], op: ast.operator) -> ast.expr:
    joined = parts[0]
    for part in parts[1:]:
        joined = ast.BinOp(joined, op, part)
    return joined
