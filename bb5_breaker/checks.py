"""Checks of values given from outside, with errors that name the field and its bounds."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

__all__ = ["check_choice", "check_seconds", "check_whole"]

Choice = TypeVar("Choice", bound=Enum)


def check_whole(field: str, value: object, least: int, most: int) -> int:
    """Return ``value`` when it is an int in bounds.

    Args:
        field: Name used in the error.
        value: What was given; a bool is refused.
        least: Smallest allowed value.
        most: Largest allowed value.

    Returns:
        The value itself.

    Raises:
        ValueError: Wrong type or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(
            f"{field} must be an int from {least} to {most}, got {type(value).__name__} {value!r}"
        )
    if not least <= value <= most:
        raise ValueError(f"{field} must be from {least} to {most}, got {_show(value)}")
    return value


def check_seconds(field: str, value: object, least: float, most: float) -> float:
    """Return ``value`` as float when it is a finite number of seconds in bounds.

    Args:
        field: Name used in the error.
        value: What was given, int or float; a bool or NaN is refused.
        least: Smallest allowed value in seconds.
        most: Largest allowed value in seconds.

    Returns:
        The value as a float.

    Raises:
        ValueError: Wrong type, not finite, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"{field} must be a number of seconds from {least:g} to {most:g}, "
            f"got {type(value).__name__} {value!r}"
        )
    # Comparing refuses NaN as well, and an int too large for a float.
    if not least <= value <= most:
        raise ValueError(f"{field} must be from {least:g} to {most:g} seconds, got {_show(value)}")
    return float(value)


def check_choice(field: str, value: object, choices: type[Choice]) -> Choice:
    """Return the member of an enum that has this value.

    Args:
        field: Name used in the error.
        value: What was given.
        choices: The enum; its values are texts.

    Raises:
        ValueError: There is none.
    """
    for known in choices:
        if value == known.value:
            return known
    *others, last = [repr(known.value) for known in choices]
    raise ValueError(f"{field} must be {', '.join(others)} or {last}, got {value!r}")


def _show(value: int | float) -> str:
    # Python refuses to write out an int of thousands of digits.
    return repr(value) if -1e300 < value < 1e300 or isinstance(value, float) else "a huge number"
