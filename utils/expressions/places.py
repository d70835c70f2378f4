"""Where the parts of an expression stand in its text, and what its author may have meant by a chain of comparisons."""

import ast

from utils.expressions.text import Problem

OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.USub: "-", ast.UAdd: "+", ast.Invert: "~",
}  # fmt: skip


class Places:
    """Maps Python's tree to the text it was parsed from.

    Parameters
    ----------
    line : the text on one line.
    lead : how many spaces at its beginning were kept from the parser.
    """

    def __init__(self, line: str, lead: int) -> None:
        self._line = line
        self._lead = lead
        self._encoded = line[lead:].encode()  # the parser counts bytes

    def start(self, node: ast.expr) -> int:
        """Offset of the node's first character."""
        return self._lead + len(self._encoded[: node.col_offset].decode())

    def end(self, node: ast.expr) -> int:
        """Offset behind the node's last character."""
        return self._lead + len(self._encoded[: node.end_col_offset].decode())

    def text(self, node: ast.expr) -> str:
        """The node as it is written, without its own parentheses."""
        return " ".join(self._line[self.start(node) : self.end(node)].split())

    def in_parentheses(self, node: ast.expr) -> bool:
        """Whether parentheses stand around the node (for a side of an operator, these are its own)."""
        before, after = self._line[: self.start(node)].rstrip(), self._line[self.end(node) :].lstrip()
        return before.endswith("(") and after.startswith(")")

    def problem(self, node: ast.expr, what: str, remedy: str | None = None, nearest: str | None = None) -> Problem:
        """A problem with this node."""
        return Problem(what, remedy=remedy, at=self.start(node), nearest=nearest)

    def is_loose(self, side: ast.expr) -> bool:
        """Whether the side of a comparison is ``x & y`` without parentheses: Python binds & | ^ before comparisons."""
        return (
            isinstance(side, ast.BinOp)
            and isinstance(side.op, ast.BitAnd | ast.BitOr | ast.BitXor)
            and not self.in_parentheses(side)
        )

    def chain_problem(self, tree: ast.Compare) -> Problem | None:
        """What is wrong with ``20 < pt < 40`` and with ``a > 1 & b > 2``, and what was meant; None for one plain
        comparison."""
        sides = [tree.left, *tree.comparators]
        loose = any(self.is_loose(side) for side in sides)
        if not loose and len(sides) == 2:
            return None
        groups: list[tuple[list[str], list[str]]] = [([], [])]  # (operands, comparisons) between two & or |
        joints: list[str] = []
        for i, side in enumerate(sides):
            for joint, operand in self._split(side):
                if joint:
                    joints.append(joint)
                    groups.append(([], []))
                groups[-1][0].append(operand)
            if i < len(tree.ops):
                groups[-1][1].append(OPERATORS.get(type(tree.ops[i]), "=="))
        parts = [_spelled_out(operands, comparisons, alone=len(groups) == 1) for operands, comparisons in groups]
        meant = parts[0] + "".join(f" {joint} {part}" for joint, part in zip(joints, parts[1:], strict=True))
        if loose:
            what = f"'{joints[0]}' binds before the comparisons beside it"
            return self.problem(tree, what, f"Add parentheses: {meant}.")
        return self.problem(tree, "a chain of comparisons does not work on whole branches", f"Write {meant}.")

    def _split(self, side: ast.expr) -> list[tuple[str, str]]:
        """The operands that loose & | ^ join in one side of a comparison, each with the sign before it."""
        if isinstance(side, ast.BinOp) and self.is_loose(side):
            left, right = self._split(side.left), self._split(side.right)
            return [*left, (OPERATORS[type(side.op)], right[0][1]), *right[1:]]
        compound = isinstance(side, ast.BinOp | ast.Compare | ast.UnaryOp) and self.in_parentheses(side)
        return [("", f"({self.text(side)})" if compound else self.text(side))]


def _spelled_out(operands: list[str], comparisons: list[str], *, alone: bool) -> str:
    """``['20', 'pt', '40'], ['<', '<']`` to ``(20 < pt) & (pt < 40)``."""
    if not comparisons:
        return operands[0]
    pairs = [f"({operands[i]} {comparison} {operands[i + 1]})" for i, comparison in enumerate(comparisons)]
    joined = " & ".join(pairs)
    return joined if alone or len(pairs) == 1 else f"({joined})"
