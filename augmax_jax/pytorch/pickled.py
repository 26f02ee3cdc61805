"""What a pickle describes, read without unpickling: nothing is imported, called or built.

A pickle is a program for a stack machine, and running it calls any function that the file names.
This module goes through the same instructions, and makes plain values of them: numbers, texts,
lists, dictionaries. Where the file calls for anything else, a function of this project's choice
decides, and an `Unknown` takes the place. So the memory stays proportional to the pickle's length.
"""

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

_MOST = 5_000_000  # instructions; a checkpoint has some thousands


class Name(NamedTuple):
    """A function or class that the file names, such as torch._utils _rebuild_tensor_v2."""

    module: str
    name: str


class Unknown:
    """Stands for a value that is not read."""

    __slots__ = ()


_UNKNOWN = Unknown()
_MARK = object()
# Kinds of keys that are kept. The hash of nested tuples may take for ever.
_KEYS = (str, int, float, bytes, type(None))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_GIVEN = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_OLD_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2, in any encoding
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": Unknown,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME", "READONLY_BUFFER"}

Call = Callable[[Name, tuple[Any, ...]], Any]
Persistent = Callable[[Any], Any]


def describe(stream: Any, call: Call, persistent: Persistent) -> Any:
    """Goes through a pickle.

    Args:
        stream: a binary file whose reads are bounded by its length; afterwards it is at the byte
            behind the pickle.
        call: what to put where the file calls a named function or class with arguments.
        persistent: what to put for an object that lies outside the pickle, from its identity.

    Returns:
        The value that the pickle describes.

    Raises:
        ValueError: it is no pickle, or too long.
        Exception: any other, if the pickle is damaged.
    """
    machine = _Machine(call, persistent)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > _MOST:
            raise ValueError(f"the pickle has more than {_MOST:,} instructions")
        if opcode.name == "STOP":
            break
        machine.step(opcode.name, argument)
    return machine.stack[-1]


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self, call: Call, persistent: Persistent) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self._call, self._persistent = call, persistent

    def step(self, name: str, argument: Any) -> None:
        """Does one instruction."""
        push = self.stack.append
        if name in _GIVEN:
            push(argument)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in _OLD_TEXTS:
            push(argument.encode("latin-1").decode("utf-8", "replace"))
        elif name in _EMPTY:
            push(_EMPTY[name]())
        elif name in _TUPLES:
            push(tuple(self._pop_several(_TUPLES[name])))
        elif name == "MARK":
            push(_MARK)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            push(self.memory[int(argument)])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memory[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memory[len(self.memory)] = self.stack[-1]
        elif name == "GLOBAL":
            push(Name(*argument.split(" ", 1)))
        elif name not in _NOTHING:
            getattr(self, f"_{name.lower()}", self._unread)(argument)

    def _unread(self, argument: Any) -> None:
        raise ValueError("the pickle holds an instruction that is not read")

    def _pop_several(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the pickle takes more than it put down")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        places = range(len(self.stack) - 1, -1, -1)
        start = next((i for i in places if self.stack[i] is _MARK), None)
        if start is None:
            raise ValueError("the pickle takes more than it put down")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    # ---- instructions, by their names in pickletools

    def _pop(self, argument: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, argument: Any) -> None:
        self._pop_to_mark()

    def _dup(self, argument: Any) -> None:
        self.stack.append(self.stack[-1])

    def _list(self, argument: Any) -> None:
        self.stack.append(self._pop_to_mark())

    def _tuple(self, argument: Any) -> None:
        self.stack.append(tuple(self._pop_to_mark()))

    def _dict(self, argument: Any) -> None:
        items = self._pop_to_mark()
        self.stack.append({})
        self._set(items)

    def _frozenset(self, argument: Any) -> None:
        self._pop_to_mark()
        self.stack.append(_UNKNOWN)

    def _append(self, argument: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, argument: Any) -> None:
        self._extend(self._pop_to_mark())

    def _additems(self, argument: Any) -> None:
        self._pop_to_mark()

    def _setitem(self, argument: Any) -> None:
        self._set(self._pop_several(2))

    def _setitems(self, argument: Any) -> None:
        self._set(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def _set(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            self.stack[-1].update((key, value) for key, value in pairs if isinstance(key, _KEYS))

    def _build(self, argument: Any) -> None:
        self.stack.pop()  # the state of an object; those that are read have none

    def _reduce(self, argument: Any) -> None:
        function, arguments = self._pop_several(2)
        self._made(function, arguments)

    _newobj = _reduce

    def _newobj_ex(self, argument: Any) -> None:
        self._pop_several(3)
        self.stack.append(_UNKNOWN)

    def _inst(self, argument: Any) -> None:
        self._pop_to_mark()
        self.stack.append(_UNKNOWN)

    _obj = _inst

    def _made(self, function: Any, arguments: Any) -> None:
        known = isinstance(function, Name) and isinstance(arguments, tuple)
        self.stack.append(self._call(function, arguments) if known else _UNKNOWN)

    def _stack_global(self, argument: Any) -> None:
        module, name = self._pop_several(2)
        texts = isinstance(module, str) and isinstance(name, str)
        self.stack.append(Name(module, name) if texts else _UNKNOWN)

    def _persid(self, argument: Any) -> None:
        self.stack.append(self._persistent(argument))

    def _binpersid(self, argument: Any) -> None:
        self.stack.append(self._persistent(self.stack.pop()))

    def _ext1(self, argument: Any) -> None:
        self.stack.append(_UNKNOWN)

    _ext2 = _ext4 = _next_buffer = _ext1
