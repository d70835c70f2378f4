"""Numbers as a physicist writes them."""

import math


def plus_minus(value: float, error: float) -> str:
    """`0.913 ± 0.004`, rounded by the PDG's rule: the error to two digits below 0.355, 3.55 …, else to one.

    >>> plus_minus(0.91284, 0.0041)
    '0.913 ± 0.004'
    >>> plus_minus(0.91284, 0.0013)
    '0.9128 ± 0.0013'
    """
    if not math.isfinite(value):
        return "undefined"
    if not math.isfinite(error) or error <= 0:
        return f"{value:.3f}"
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (exponent - 2))
    digits = 1 - exponent if leading < 355 else -exponent
    decimals = min(max(digits, 0), 6)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def p_value(p: float) -> str:
    """`p = 0.31`, and `p < 0.001` below that.

    >>> p_value(2e-7)
    'p < 0.001'
    """
    if not math.isfinite(p):
        return "p undefined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
