"""From text to nodes: Python's own grammar, of which only listed forms are allowed.

Nothing is ever executed: the text is parsed by `ast.parse`, and every node of the result is either translated into
one of ours or refused with what to write instead.
"""

import ast
import warnings
from collections.abc import Sequence

from utils.errors import nearest_name
from utils.expressions.functions import CONSTANTS, FUNCTIONS, NAMESPACES, OBJECTS, SPELLINGS
from utils.expressions.nodes import (
    ARITHMETIC,
    COMPARISONS,
    CONDITIONS,
    Binary,
    Branch,
    Call,
    Compare,
    Literal,
    Node,
    Pick,
    Range,
    Unary,
)
from utils.expressions.places import OPERATORS, Places
from utils.expressions.registry import Function
from utils.expressions.text import Problem, lone_equals, one_line
from utils.expressions.values import bounded, fold

_LONGEST = 20_000  # characters
_DEEPEST = 200  # levels; evaluation recurses, and Python stops at 1000 frames

_REFUSED: dict[type[ast.AST], tuple[str, str | None]] = {
    ast.Lambda: ("a lambda is not allowed", "Write the formula itself."),
    ast.NamedExpr: ("':=' is not allowed", "Define another entry of new_variables."),
    ast.JoinedStr: ("an f-string is not allowed", "Write the text itself."),
    ast.Starred: ("'*' before an argument is not allowed", "Give each argument by itself."),
    ast.List: ("a list is not allowed", "Give the values as arguments, such as concatenate(x, y)."),
    ast.Tuple: ("a comma outside a function's arguments is not allowed", "Give one expression."),
    ast.Set: ("a set is not allowed", "Compare with one value at a time: (x == 1) | (x == 2)."),
    ast.Dict: ("a dictionary is not allowed", "Write a formula or a condition."),
    ast.Slice: ("a range of events is not allowed", "Write x[:, first:last] for objects of each event."),
    ast.Await: ("'await' is not allowed", "Write a formula or a condition."),
    ast.Yield: ("'yield' is not allowed", "Write a formula or a condition."),
    ast.YieldFrom: ("'yield' is not allowed", "Write a formula or a condition."),
}
for _comprehension in (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp):
    _REFUSED[_comprehension] = (
        "a comprehension is not allowed",
        "Operations work on whole branches: write sqrt(x), any(x > 30).",
    )


def parse(text: str) -> tuple[Node, frozenset[str]]:
    """The tree of an expression and the branches it needs. Raises Problem."""
    if len(text) > _LONGEST:
        raise Problem(f"this expression has {len(text)} characters", remedy=f"Split it: {_LONGEST} is the limit.")
    line = one_line(text)
    if not line.strip():
        raise Problem("this expression is empty", remedy="Write a formula or a condition.")
    lead = len(line) - len(line.lstrip())
    too_deep = Problem("this expression is nested too deeply", remedy="Split it into several new_variables.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's hints about odd literals; what they are about is refused below
            tree = ast.parse(line.strip(), mode="eval")
        parser = _Parser(line, lead)
        return parser.node(tree.body), frozenset(parser.uses)
    except SyntaxError as error:
        raise _explained(line, lead, error) from error
    except (RecursionError, MemoryError) as error:
        raise too_deep from error


def _explained(line: str, lead: int, error: SyntaxError) -> Problem:
    message = str(error.msg).split(". ")[0]
    if "too many nested parentheses" in message:
        return Problem("this expression is nested too deeply", remedy="Split it into several new_variables.")
    at = min(max(lead + (error.offset or 1) - 1, 0), max(len(line) - 1, 0))
    equals = lone_equals(line, at)
    if equals is not None and ("invalid syntax" in message or "assign" in message):
        return Problem("'=' is not a comparison", remedy="Write == to compare.", at=equals)
    message = message.removesuffix(" (<unknown>, line 1)").replace("invalid syntax", "this is not an expression")
    return Problem(message[:1].lower() + message[1:], at=at, remedy="Check operators, quotes and parentheses.")


def _dotted(tree: ast.expr) -> str | None:
    """``Jet.PT`` as the name of a branch; None where it is no such name: attributes of anything but words, of the
    libraries of functions, and those that Python keeps to itself."""
    parts: list[str] = []
    while isinstance(tree, ast.Attribute):
        parts.append(tree.attr)
        tree = tree.value
    if not isinstance(tree, ast.Name) or tree.id in NAMESPACES or any(p.startswith("_") for p in (tree.id, *parts)):
        return None
    return ".".join([tree.id, *reversed(parts)])


class _Parser:
    """Translates one tree; collects the branches on its way."""

    def __init__(self, line: str, lead: int) -> None:
        self.uses: set[str] = set()
        self._places = Places(line, lead)
        self._depth = 0

    def node(self, tree: ast.expr) -> Node:
        """Our node for a tree of Python's."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RecursionError
        try:
            if isinstance(tree, ast.Constant):
                return self._constant(tree)
            if isinstance(tree, ast.Name):
                return self._name(tree)
            if isinstance(tree, ast.UnaryOp):
                return self._unary(tree)
            if isinstance(tree, ast.BinOp):
                return self._binary(tree)
            if isinstance(tree, ast.Compare):
                return self._compare(tree)
            if isinstance(tree, ast.Call):
                return self._call(tree)
            if isinstance(tree, ast.Subscript):
                return self._subscript(tree)
            if isinstance(tree, ast.Attribute):
                return self._attribute(tree)
            raise self._refusal(tree)
        finally:
            self._depth -= 1

    def _refusal(self, tree: ast.expr) -> Problem:
        if isinstance(tree, ast.BoolOp):
            word, symbol = ("and", "&") if isinstance(tree.op, ast.And) else ("or", "|")
            joined = f" {symbol} ".join(f"({self._places.text(value)})" for value in tree.values)
            return self._places.problem(tree, f"'{word}' does not work on whole branches", f"Write {joined}.")
        if isinstance(tree, ast.IfExp):
            parts = ", ".join(self._places.text(part) for part in (tree.test, tree.body, tree.orelse))
            return self._places.problem(tree, "'if … else' does not work on whole branches", f"Write where({parts}).")
        what, remedy = _REFUSED.get(
            type(tree), (f"'{type(tree).__name__}' is not allowed", "Write a formula or a condition.")
        )
        return self._places.problem(tree, what, remedy)

    def _constant(self, tree: ast.Constant) -> Literal:
        if isinstance(tree.value, bool | int | float):
            return Literal(bounded(tree.value))
        if isinstance(tree.value, str):
            raise self._places.problem(
                tree,
                "text stands only in a comparison",
                "Write branch == 'text', or branch('name') for a branch's name.",
            )
        raise self._places.problem(
            tree, f"'{self._places.text(tree)}' is not a number", "Use where(…), isnan(…) or nan for missing values."
        )

    def _name(self, tree: ast.Name) -> Node:
        if tree.id.startswith("__"):
            raise self._places.problem(
                tree, f"'{tree.id}' is not allowed", 'Write branch("…") for a branch of such a name.'
            )
        if tree.id in CONSTANTS:
            return Literal(CONSTANTS[tree.id])
        self.uses.add(tree.id)
        return Branch(tree.id)

    def _attribute(self, tree: ast.Attribute) -> Node:
        text = self._places.text(tree)
        if isinstance(tree.value, ast.Name) and tree.value.id in NAMESPACES:
            if tree.attr in CONSTANTS and NAMESPACES[tree.value.id] != "ak":
                return Literal(CONSTANTS[tree.attr])
            if f"{NAMESPACES[tree.value.id]}.{tree.attr}" in SPELLINGS:
                raise self._places.problem(tree, f"'{text}' is a function", f"Write {text}(…).")
            raise self._unknown(tree, text)
        name = _dotted(tree)
        if name is None:
            raise self._places.problem(
                tree, f"'.{tree.attr}' is not allowed", f'Write branch("{text}") if this is the name of a branch.'
            )
        self.uses.add(name)
        return Branch(name)

    def _unary(self, tree: ast.UnaryOp) -> Node:
        if isinstance(tree.op, ast.Not):
            raise self._places.problem(
                tree, "'not' does not work on whole branches", f"Write ~({self._places.text(tree.operand)})."
            )
        symbol, operand = OPERATORS[type(tree.op)], self.node(tree.operand)
        if isinstance(operand, Literal) and not isinstance(operand.value, str):
            value = operand.value
            if symbol == "~":
                return Literal(not value if isinstance(value, bool) else self._inverted(tree, value))
            return Literal(bounded(-value if symbol == "-" else +value))
        return Unary(symbol, operand, self._places.start(tree))

    def _inverted(self, tree: ast.UnaryOp, value: int | float) -> int:
        if isinstance(value, float):
            raise self._places.problem(tree, "'~' negates a condition, not a number", "Write - for the negative.")
        return ~value

    def _binary(self, tree: ast.BinOp) -> Node:
        symbol = OPERATORS.get(type(tree.op))
        if symbol is None:
            raise self._places.problem(tree, "'@', '<<' and '>>' are not part of the language", "Write * or / instead.")
        left, right = self.node(tree.left), self.node(tree.right)
        literals = [side.value for side in (left, right) if isinstance(side, Literal)]
        if symbol in CONDITIONS and any(not isinstance(value, bool) for value in literals):
            self._refuse_joined_number(tree, symbol, literals)
        if len(literals) == 2:
            if symbol in CONDITIONS:
                return Literal(CONDITIONS[symbol](*literals))
            assert symbol in ARITHMETIC
            return Literal(fold(symbol, *literals))
        return Binary(symbol, left, right, self._places.start(tree))

    def _refuse_joined_number(self, tree: ast.BinOp, symbol: str, literals: Sequence[object]) -> None:
        """``flags & 4`` picks bits; ``x^2`` and ``x & 0.5`` mean something else than they do."""
        if symbol == "^":
            raise self._places.problem(
                tree,
                "'^' is 'exactly one of two conditions'",
                f"Write {self._places.text(tree.left)} ** {self._places.text(tree.right)} for a power.",
            )
        if any(isinstance(value, float) for value in literals):
            raise self._places.problem(
                tree, f"'{symbol}' joins conditions, not numbers", "Make each side a condition, such as (x > 0)."
            )

    def _compare(self, tree: ast.Compare) -> Node:
        chain = self._places.chain_problem(tree)
        if chain is not None:
            raise chain
        symbol = OPERATORS.get(type(tree.ops[0]))
        if symbol is None:
            raise self._places.problem(
                tree,
                "'is' and 'in' are not part of the language",
                "Write == or !=; for several values (x == 1) | (x == 2).",
            )
        left, right = self._side(tree.left, symbol), self._side(tree.comparators[0], symbol)
        if isinstance(left, Literal) and isinstance(right, Literal):
            if isinstance(left.value, str) != isinstance(right.value, str):
                raise self._places.problem(
                    tree, "this compares a number with a text", "Compare a branch with one of them."
                )
            return Literal(bool(COMPARISONS[symbol](left.value, right.value)))
        return Compare(symbol, left, right, self._places.start(tree))

    def _side(self, tree: ast.expr, symbol: str) -> Node:
        if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
            if symbol not in ("==", "!="):
                raise self._places.problem(tree, f"'{symbol}' does not compare text", "Use == or !=.")
            return Literal(tree.value)
        return self.node(tree)

    def _call(self, tree: ast.Call) -> Node:
        if isinstance(tree.func, ast.Name) and tree.func.id == "branch":
            return self._branch(tree)
        function = self._function(tree.func)
        least, greatest = function.arity
        for argument in tree.args:
            if isinstance(argument, ast.List | ast.Tuple) and function.name == "concatenate":
                inside = ", ".join(self._places.text(element) for element in argument.elts)
                raise self._places.problem(argument, "a list is not allowed", f"Write concatenate({inside}).")
        arguments = tuple(self.node(argument) for argument in tree.args)
        if len(arguments) < least or (greatest is not None and len(arguments) > greatest):
            raise self._places.problem(
                tree, f"'{function.name}' takes other arguments", f"Write {function.name}({function.signature})."
            )
        keywords = [
            (keyword.arg, self._keyword(function, keyword))
            for keyword in tree.keywords
            if not self._is_object_axis(function, keyword)
        ]
        names = [name for name, _ in keywords]
        if len(set(names)) < len(names):
            raise self._places.problem(tree, f"'{function.name}' has an argument twice", "Keep one of them.")
        return Call(
            function.name, arguments, tuple((str(name), value) for name, value in keywords), self._places.start(tree)
        )

    def _branch(self, tree: ast.Call) -> Branch:
        if (
            len(tree.args) != 1
            or tree.keywords
            or not isinstance(tree.args[0], ast.Constant)
            or not isinstance(tree.args[0].value, str)
        ):
            raise self._places.problem(tree, "'branch' takes one name in quotes", 'Write branch("Jet.pt").')
        self.uses.add(tree.args[0].value)
        return Branch(tree.args[0].value)

    def _function(self, tree: ast.expr) -> Function:
        text = self._places.text(tree)
        if isinstance(tree, ast.Name):
            spelled = tree.id
        elif isinstance(tree, ast.Attribute) and isinstance(tree.value, ast.Name) and tree.value.id in NAMESPACES:
            spelled = f"{NAMESPACES[tree.value.id]}.{tree.attr}"
        elif isinstance(tree, ast.Attribute) and tree.attr in FUNCTIONS:
            value = self._places.text(tree.value)
            raise self._places.problem(tree, f"'.{tree.attr}(…)' is not allowed", f"Write {tree.attr}({value}).")
        else:
            raise self._places.problem(
                tree, f"'{text}' cannot be called", "Call the functions of the language by their names."
            )
        if spelled not in SPELLINGS:
            raise self._unknown(tree, spelled)
        return FUNCTIONS[SPELLINGS[spelled]]

    def _unknown(self, tree: ast.expr, spelled: str) -> Problem:
        prefix, _, last = spelled.rpartition(".")
        close = nearest_name(spelled, [s for s in SPELLINGS if "." in s]) if prefix else nearest_name(last, SPELLINGS)
        if prefix and last in FUNCTIONS:
            close = last
        return self._places.problem(
            tree, f"'{spelled}' is not a function of the language", "The table of functions lists them all.", close
        )

    def _is_object_axis(self, function: Function, keyword: ast.keyword) -> bool:
        """``axis=1`` and ``axis=-1`` are what every reduction does; any other axis would mix events."""
        if keyword.arg != "axis" or function.group != OBJECTS:
            return False
        axis = self._places.text(keyword.value)
        if axis not in ("1", "-1"):
            raise self._places.problem(
                keyword.value, f"axis={axis} would mix events", "Write axis=1, or leave it away."
            )
        return True

    def _keyword(self, function: Function, keyword: ast.keyword) -> bool | int | float:
        if keyword.arg is None:
            raise self._places.problem(
                keyword.value, "'**' before an argument is not allowed", "Give each argument by itself."
            )
        if keyword.arg not in function.keywords:
            raise self._places.problem(
                keyword.value,
                f"'{function.name}' has no argument '{keyword.arg}'",
                f"Write {function.name}({function.signature}); to compare, write ==.",
                nearest_name(keyword.arg, function.keywords),
            )
        value = self.node(keyword.value)
        if not isinstance(value, Literal) or isinstance(value.value, str):
            raise self._places.problem(
                keyword.value, f"'{keyword.arg}' takes a constant", "Use where(…) for a value that varies."
            )
        return value.value

    def _subscript(self, tree: ast.Subscript) -> Node:
        at, index = self._places.start(tree), tree.slice
        if isinstance(index, ast.Tuple):
            first, *rest = index.elts
            if len(rest) != 1 or not (
                isinstance(first, ast.Slice) and first.lower is first.upper is first.step is None
            ):
                raise self._places.problem(
                    tree,
                    "[…] selects objects, never events",
                    "Write x[:, i], x[:, first:last], x[condition] or x[positions].",
                )
            operand = self.node(tree.value)
            if isinstance(rest[0], ast.Slice):
                part = rest[0]
                return Range(operand, (self._whole(part.lower), self._whole(part.upper), self._whole(part.step)), at)
            position = self._whole(rest[0])
            assert position is not None
            return Range(operand, position, at)
        operand, selector = self.node(tree.value), self.node(index)
        if isinstance(selector, Literal):
            text = f"nth({self._places.text(tree.value)}, {self._places.text(index)}, default=…)"
            raise self._places.problem(
                tree, "[…] with a number would select an event", f"Write {text} for that object of each event."
            )
        return Pick(operand, selector, at)

    def _whole(self, tree: ast.expr | None) -> int | None:
        if tree is None:
            return None
        value = self.node(tree)
        if not isinstance(value, Literal) or not isinstance(value.value, int) or isinstance(value.value, bool):
            raise self._places.problem(
                tree, "a position is a whole number", "Write nth(x, n, default=…) for one that varies."
            )
        return value.value
