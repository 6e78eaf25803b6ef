"""Numbers as every command prints them."""

import math

from apt_lightning.common.tables import render

__all__ = ["UNDEFINED", "interval", "number", "p_value", "render"]

UNDEFINED = "undefined"
"""What a number that does not exist is shown as (a correlation with a constant, a mean of no clips)."""


def number(value: float, digits: int = 4) -> str:
    """Write a number without its leading zero, as the paper's tables do.

    Args:
        value: The number; NaN means that it does not exist.
        digits: Digits after the point.

    Example:
        >>> number(0.91274), number(-0.0012), number(1.5, 2), number(float("nan"))
        ('.9127', '-.0012', '1.50', 'undefined')
    """
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def interval(value: float, lower: float, upper: float, digits: int = 4) -> str:
    """Write a number with its interval.

    Args:
        value: The number.
        lower: Lower end of its interval.
        upper: Upper end.
        digits: Digits after the point.

    Example:
        >>> interval(0.9127, 0.9101, 0.915)
        '.9127 [.9101, .9150]'
        >>> interval(0.9127, float("nan"), float("nan"))
        '.9127 [undefined]'
    """
    if not math.isfinite(value):
        return UNDEFINED
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return f"{number(value, digits)} [{UNDEFINED}]"
    return f"{number(value, digits)} [{number(lower, digits)}, {number(upper, digits)}]"


def p_value(p: float) -> str:
    """Write a p-value.

    Args:
        p: Probability, or NaN.

    Example:
        >>> p_value(0.0312), p_value(1e-9), p_value(1.0)
        ('.031', '<.001', '1.000')
    """
    return "<.001" if p < 0.001 else number(p, 3)
