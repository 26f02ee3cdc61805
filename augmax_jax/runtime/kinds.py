"""The type of a setting: it reads a value from a text, and says whether a value fits."""

import ast
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """The type of a setting.

    Attributes:
        base: bool, int, float or str; object for an option of a network.
        many: whether the value is a tuple of `base`.
        also: further values that are allowed: None, or "auto".
    """

    base: type
    many: bool = False
    also: tuple[str | None, ...] = ()

    def __str__(self) -> str:
        one = {
            bool: ("true", "false"),
            int: ("a whole number",),
            float: ("a number",),
            str: ("text",),
            object: ("a number", "text"),
        }
        several = {int: "whole numbers", float: "numbers", str: "names"}
        if self.many:
            return " or ".join([f"{several[self.base]} separated by commas", *map(str, self.also)])
        *first, last = (*one[self.base], *map(str, self.also))
        return f"{', '.join(first)} or {last}" if first else last

    def accepts(self, value: Any) -> bool:
        """Whether a value is of this type; a whole number is a number, and none is infinite."""
        if any(value is other or (other is not None and value == other) for other in self.also):
            return True
        if self.many:
            return isinstance(value, tuple | list) and all(
                Kind(self.base).accepts(v) for v in value
            )
        if self.base is bool or isinstance(value, bool):
            return self.base in (bool, object) and isinstance(value, bool)
        if self.base is float:
            return isinstance(value, int | float) and math.isfinite(value)
        return isinstance(value, int | float | str if self.base is object else self.base)

    def read(self, text: str) -> Any:
        """The value that a text stands for.

        Raises:
            ValueError: the text is no value of this type; the message does not name the setting.
        """
        for other in self.also:
            if text.strip().lower() == str(other).lower():
                return other
        if self.many:
            return self._read_tuple(text)
        value = _READERS[self.base](text)
        if not self.accepts(value):
            raise ValueError(text)
        return value

    def _read_tuple(self, text: str) -> tuple[Any, ...]:
        """`a,b`, `a`, `(a, b)`, `[a, b]` or `('a', 'b')`; nothing or `()` is the empty one."""
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = None
        if isinstance(value, str):
            value = (value,)  # a quoted text: its commas separate nothing
        if isinstance(value, tuple | list) and self.accepts(value):
            return tuple(self._plain(item) for item in value)
        inner = text.strip()
        if inner[:1] + inner[-1:] in ("()", "[]"):
            inner = inner[1:-1].strip()
        inner = inner.removesuffix(",")
        parts = [part.strip() for part in inner.split(",")] if inner else []
        if not all(parts):
            raise ValueError(text)
        return tuple(Kind(self.base).read(part) for part in parts)

    def _plain(self, value: Any) -> Any:
        return float(value) if self.base is float else value


def _read_bool(text: str) -> bool:
    lower = text.strip().lower()
    if lower in ("true", "t", "1"):
        return True
    if lower in ("false", "f", "0"):
        return False
    raise ValueError(text)


def _read_float(text: str) -> float:
    try:
        # Attacks are given in fractions of 255.
        return float(Fraction(text)) if "/" in text else float(text)
    except ZeroDivisionError:
        raise ValueError(text) from None


def _read_literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


_READERS: dict[type, Callable[[str], Any]] = {
    bool: _read_bool,
    int: int,
    float: _read_float,
    str: str,
    object: _read_literal,
}
