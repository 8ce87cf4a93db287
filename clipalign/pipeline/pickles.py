"""Pickles of strangers, read for their data alone.

A pickle is a program: it names functions and calls them. ``load_inert`` looks its program over first and then runs it
with stand-ins of our own; a name without a stand-in is an error, so nothing that a pickle says can run. Both files that
need this (OpenAI's TorchScript archives, CIFAR's Python version) have few instructions and few names.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Final

_PREALLOCATING: Final = {"BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4", "INST", "OBJ"}
"""Instructions that take memory before they look whether their data is there, or that no file of ours has."""

_MEMO_PUTS: Final = {"PUT", "BINPUT", "LONG_BINPUT"}

Find = Callable[[str, str], Any]
"""From module and name to a stand-in; None refuses."""


_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]
"""The one written in Python, of which an instruction can be changed."""


class StandIn:
    """What a pickle may set the state of, by its ``__setstate__``: of functions and tensors that would do much."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets a state where there is none")


class _Inert(_Unpickler):  # type: ignore[misc]
    dispatch: Final = dict(_Unpickler.dispatch)

    def __init__(self, content: bytes, find: Find, persistent: Callable[[Any], Any] | None, encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._find = find
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        found = self._find(module, name)
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data does not need")
        return found

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], StandIn):
            raise pickle.UnpicklingError(f"it sets the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to data outside itself")
        return self._persistent(pid)


def load_inert(
    content: bytes,
    find: Find | Mapping[tuple[str, str], Any],
    *,
    persistent: Callable[[Any], Any] | None = None,
    encoding: str = "ASCII",
) -> Any:
    """What a pickle holds, with every name it asks for replaced.

    Args:
        content: the pickle.
        find: the stand-in of a module's name; None refuses it.
        persistent: turns a persistent id into what it stands for.
        encoding: of the strings of Python 2; ``"bytes"`` leaves them as bytes.

    Raises:
        Exception: nearly any, as a damaged pickle does; nothing of the pickle was run.
    """
    for opcode, argument, _ in pickletools.genops(content):
        # The memo is an array as long as its largest index, which five bytes can put beyond all memory.
        if opcode.name in _PREALLOCATING or (opcode.name in _MEMO_PUTS and int(argument or 0) > len(content)):
            raise pickle.UnpicklingError(f"it holds the instruction {opcode.name}, which data does not need")
    lookup: Find = find if callable(find) else lambda module, name: find.get((module, name))
    return _Inert(content, lookup, persistent, encoding).load()
