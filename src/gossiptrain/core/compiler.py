"""How loops over values become machine code: numba, once on a computer and then from a folder.

Owns the settings of the compiler and where its code is kept. Does not know the loops.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

_logger = logging.getLogger(__package__)
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Function = Callable[_Parameters, _Result]

_NO_FOLDER = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What numba raises where the folder of its code cannot be written, is full, or holds a file that is not whole."""


def compiled(
    signature: Any, *, sums_in_any_order: bool = False
) -> Callable[[_Function[_Parameters, _Result]], _Function[_Parameters, _Result]]:
    """Decorates a function that numba can compile, for arguments of one signature; others raise TypeError.

    It is compiled here and now, or loaded from the folder: beside the source, or where that cannot be written in
    `~/.cache/numba`, or where `NUMBA_CACHE_DIR` says. Float32 arithmetic is that of IEEE 754, operation by operation,
    so that all processors find the same values; sums_in_any_order: except for sums, which are faster so. Nothing checks
    that an index is within its array.
    """
    fastmath = {"reassoc"} if sums_in_any_order else False
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}

    def decorate(function: _Function[_Parameters, _Result]) -> _Function[_Parameters, _Result]:
        try:
            found = numba.njit(signature, cache=True, **options)(function)
        except _NO_FOLDER as error:
            _logger.warning(
                "the folder for compiled code cannot be used (%s), so %s is compiled at each start: "
                "set NUMBA_CACHE_DIR to one that can be written, or empty the old one",
                error or type(error).__name__,
                function.__name__,
            )
            found = numba.njit(signature, **options)(function)
        return found  # type: ignore[no-any-return]

    return decorate
