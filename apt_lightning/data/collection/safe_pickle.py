"""A pickle machine for data only: few instructions, and stand-ins for the few functions that data needs."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping, Set

_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES"}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"}
_DICTS = {"EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "MARK"}
_CONSTANTS = {"NONE", "NEWTRUE", "NEWFALSE"}
_CALLS = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_FRAMES = {"PROTO", "FRAME", "STOP"}
_DATA = _TUPLES | _PUTS | _GETS | _TEXTS | _BYTES | _NUMBERS | _DICTS | _CONSTANTS | _CALLS | _FRAMES


_TO_MARK = {"TUPLE", "DICT", "SETITEMS", "APPENDS", "FROZENSET"}
"""Instructions that take all down to the last mark."""


class Function:
    """Base of a stand-in for a function, which a pickle can call but not change."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, known: Mapping[tuple[str, str], object]) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.known = known

    def find_class(self, module: str, name: str) -> object:
        try:
            return self.known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data never needs") from None


def load_restricted(
    data: bytes,
    known: Mapping[tuple[str, str], object],
    instructions: int,
    extra: Set[str] = frozenset(),
    tuples: int = 0,
) -> object:
    """Read a pickle in which nothing can run but what is given.

    The instructions are checked before the machine runs, since four kinds of data could take it down: a huge memo
    index makes it allocate gigabytes, the hash of a deeply nested tuple overflows the C stack, an instruction of one
    byte makes an object of a hundred, and numbers that collide as keys of a dict cost quadratic time. So the
    arguments of a call can be put nowhere else, other tuples are counted, instructions too, and whatever is hashed must
    be a text.

    Args:
        data: A pickle of any protocol; byte strings of Python 2 are read as latin1.
        known: (module, name) to what stands for it: a :class:`Function` or a class with ``__setstate__``.
        instructions: How many instructions it may have; each costs up to 200 bytes and about 3 µs.
        extra: Instructions allowed besides those for dicts, texts, numbers and calls.
        tuples: How many tuples may be anything but the arguments of a call.

    Returns:
        What it holds.

    Raises:
        pickle.UnpicklingError: If it is damaged or asks for anything else.
    """
    try:
        _check(data, _DATA | extra, instructions, tuples)
        return _Unpickler(data, known).load()
    # A damaged stream surfaces as almost any built-in error.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise pickle.UnpicklingError(reason) from error


def _check(data: bytes, allowed: Set[str], instructions: int, tuples: int) -> None:
    stack = _Stack()
    arguments: set[int] = set()
    """Memo numbers of tuples that were arguments."""
    fresh: list[int] | None = None
    """Memo numbers of the tuple just made, if the last instruction made one."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        name = opcode.name
        if name not in allowed:
            raise pickle.UnpicklingError(f"it uses the instruction {name}, which data never needs")
        if count >= instructions:
            raise pickle.UnpicklingError(f"it has more than {instructions} instructions")
        if name in _PUTS:
            number = len(stack.memo) if argument is None else int(argument)
            if number > count:
                raise pickle.UnpicklingError("it numbers more objects than it can hold")
            stack.memo[number] = stack.kinds[-1]
            arguments.discard(number)
            if fresh is not None:
                fresh.append(number)
            continue
        if fresh is not None and name in ("REDUCE", "BUILD"):
            arguments.update(fresh)
        elif fresh is not None:
            tuples -= 1
        if tuples < 0 or (name in _GETS and int(argument or 0) in arguments):
            raise pickle.UnpicklingError("it holds tuples")
        fresh = [] if name in _TUPLES else None
        stack.run(opcode, int(argument or 0) if name in _GETS else 0)


class _Stack:
    """The machine's stack and memo, of which only the kinds of things are kept: texts, marks and others."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.memo: dict[int, str] = {}

    def run(self, opcode: pickletools.OpcodeInfo, number: int) -> None:
        """Follow an instruction; ``number`` is that of a GET in the memo."""
        name, kinds = opcode.name, self.kinds
        if name in _TEXTS:
            kinds.append("text")
        elif name in _GETS:
            kinds.append(self.memo[number])
        elif name == "MARK":
            kinds.append("mark")
        elif name in _TO_MARK:
            taken = []
            while kinds[-1] != "mark":
                taken.append(kinds.pop())
            kinds.pop()
            hashed = {"DICT": taken[1::2], "SETITEMS": taken[1::2], "FROZENSET": taken}.get(name, [])
            if any(kind != "text" for kind in hashed):
                raise pickle.UnpicklingError("it has keys that are no texts")
            if name not in ("SETITEMS", "APPENDS"):
                kinds.append("other")
        else:
            if name == "SETITEM" and kinds[-2] != "text":
                raise pickle.UnpicklingError("it has keys that are no texts")
            pops = len(opcode.stack_before)
            if pops:
                if len(kinds) < pops or "mark" in kinds[-pops:]:
                    raise pickle.UnpicklingError("its stack is damaged")
                del kinds[-pops:]
            kinds += ["other"] * len(opcode.stack_after)
