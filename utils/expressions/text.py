"""The text of an expression: made ready for Python's parser, and shown in errors with the column of the problem."""

import re
from dataclasses import dataclass

from utils.errors import ExpressionError

_SHOWN = 90  # characters of the text that an error shows; cuts of real analyses run over several lines
_FOREIGN = {
    "&&": "Write & for 'and', with each comparison in parentheses.",
    "||": "Write | for 'or', with each comparison in parentheses.",
    "#": "Leave comments out of the text: a YAML comment goes after the quotes.",
    ";": "Give one expression only.",
}


class Problem(Exception):  # noqa: N818 (not an error yet: it does not know its text)
    """What is wrong at one place of a text; whoever knows the text turns it into an ExpressionError.

    Parameters
    ----------
    what : the problem, as one sentence without its full stop.
    remedy : what to write instead.
    at : offset in the text (characters), None while unknown.
    nearest : the valid name closest to the one that was given.
    """

    def __init__(
        self, what: str, *, remedy: str | None = None, at: int | None = None, nearest: str | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.at = at
        self.nearest = nearest


@dataclass(frozen=True)
class Source:
    """An expression's text and the config key it comes from."""

    text: str
    where: str | None = None

    def error(self, problem: Problem) -> ExpressionError:
        """The user's error for a problem in this text."""
        what = problem.what
        if problem.at is None:
            what += f": '{self.excerpt()}'"
        else:
            what += f", at column {problem.at + 1} of '{self.excerpt(problem.at)}'"
        return ExpressionError(what, where=self.where, nearest=problem.nearest, remedy=problem.remedy)

    def excerpt(self, at: int = 0) -> str:
        """The text, or where it is long the part around `at`."""
        first = max(0, min(at - _SHOWN // 2, len(self.text) - _SHOWN))
        part = self.text[first : first + _SHOWN].replace("\n", " ")
        return ("…" if first else "") + part + ("…" if first + _SHOWN < len(self.text) else "")


def one_line(text: str) -> str:
    """The text on one line and as long as before, so that every column still means the same place.

    Line breaks and the backslashes that continue a line become spaces outside quotes. What C++ and shells write and
    Python would misread (``&&``, ``||``, ``!``, a comment that would swallow the rest of a folded YAML string) is a
    Problem.
    """
    characters = list(text)
    quote: str | None = None
    for at, character in enumerate(text):
        if quote is not None:
            quote = None if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace() or (character == "\\" and (at + 1 == len(text) or text[at + 1].isspace())):
            characters[at] = " "
        else:
            _refuse_foreign(text, at)
    return "".join(characters)


def _refuse_foreign(text: str, at: int) -> None:
    for foreign, remedy in _FOREIGN.items():
        if text.startswith(foreign, at):
            raise Problem(f"'{foreign}' is not part of the language", remedy=remedy, at=at)
    if text[at] == "!" and not text.startswith("!=", at):
        raise Problem("'!' is not part of the language", remedy="Write ~(…) for 'not'.", at=at)


def lone_equals(line: str, near: int) -> int | None:
    """Offset of the first single ``=`` at or after `near`, else of the first in the line; None where there is none."""
    places = [match.start() for match in re.finditer(r"(?<![=<>!:])=(?!=)", line)]
    return next((at for at in places if at >= near), places[0] if places else None)
