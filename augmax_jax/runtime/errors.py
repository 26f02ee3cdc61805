"""Error messages that name the value, say what is allowed, and offer the nearest match."""

import difflib
from collections.abc import Iterable, Sequence

NAMED = 20  # a message lists this many names, then says "and n more"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A clause offering the closest allowed name, or an empty string."""
    match = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


def check_name(kind: str, name: str, allowed: Iterable[str]) -> None:
    """Raises ValueError unless `name` is one of `allowed`.

    The message names the kind of thing, the value given, the nearest match and the list.
    """
    names = list(allowed)
    if not isinstance(name, str) or name not in names:
        raise ValueError(
            f"unknown {kind} {name!r}.{nearest(str(name), names)} Available: {', '.join(names)}"
        )


def shorten(names: Sequence[str], most: int = NAMED) -> str:
    """The names with commas between: the first `most` of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
