"""Selections and new variables as text: parsed once against an allow-list, never executed.

The language is a part of Python's, on whole branches at once:

- numbers, ``True``, ``False``, the constants ``pi``, ``e``, ``nan``, ``inf`` (``np.pi`` and ``math.pi`` too);
- branches by their names, with dots too (``Jet.PT``, ``muon.p4.px``); ``branch("Tau[5]")`` for a name that is not made
  of words, begins with an underscore, or is that of a constant. A branch may have the name of a function: functions
  are looked up only where they are called;
- ``+ - * / // % **``, where integers and conditions are computed as int64, so that ``njets - 1`` of an unsigned
  branch does not wrap and ``(a > 1) + (b > 1)`` counts; otherwise types are NumPy's, and a constant takes the type of
  the branch it meets;
- comparisons ``< <= > >= == !=``; with text in quotes ``==`` and ``!=``;
- conditions joined by ``& | ^`` and negated by ``~``, with parentheses around comparisons: ``(pt_1 > 40) & (os >
  0.5)``;
- the functions of `FUNCTIONS`, with or without their ``np.``, ``math.`` or ``ak.`` prefix;
- for jagged branches ``Jet_pt[Jet_pt > 30]``, ``Jet_pt[argsort(Jet_pt, ascending=False)]``, ``Jet_pt[:, 0]``,
  ``Jet_pt[:, :2]``. Selections keep every event; a flat branch beside a jagged one is the same for all objects of its
  event.

Text may run over several lines, with or without ``\\`` at their ends.

NaN and infinities pass through silently, for the NaN policy to deal with; a comparison with NaN is False (``!=``:
True), so **NaN fails any cut**. What is missing (``firsts``, ``argmax``, ``Jet_pt[:, 0]`` of lists with gaps) becomes
NaN in a finished number and False in a finished condition. ``max``, ``min`` and ``nth`` give ``default``, NaN unless
stated, to events without objects. As in NumPy, ``//`` and ``%`` of an integer by zero are 0.

Refused, each with what to write instead: ``and or not``, chained comparisons, ``a > 1 & b > 2`` (Python binds &
first), ``=``, ``&&``, selecting events with ``[…]``, reductions over events, methods and calls that are not
listed, and all other forms of Python.
"""

from utils.expressions.derived import DerivedVariables
from utils.expressions.expression import Column, Expression, parse_cut
from utils.expressions.functions import CONSTANTS, FUNCTIONS, describe_functions
from utils.expressions.registry import Function

__all__ = [
    "CONSTANTS",
    "FUNCTIONS",
    "Column",
    "DerivedVariables",
    "Expression",
    "Function",
    "describe_functions",
    "parse_cut",
]
