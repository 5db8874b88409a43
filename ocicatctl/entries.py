"""Decode the entries that can be decoded and say what is wrong with the others.

Pure: no I/O. One value that somebody spoilt must not hide all the others from the operator.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from datamodel.errors import Invalid
from datastore.store import Entry

T = TypeVar("T")


def decoded(entries: Iterable[Entry], decode: Callable[[Entry], T]) -> tuple[list[T], list[str]]:
    """Return the readable values in the order given, and a message for each unreadable one."""
    values, mistakes = [], []
    for entry in entries:
        try:
            values.append(decode(entry))
        except Invalid as error:
            mistakes.append(str(error))
    return values, mistakes


def raise_for(mistakes: list[str]) -> None:
    """Report what could not be read; call it after everything else has been shown.

    Raises:
        Invalid: there are mistakes; one line for each.
    """
    if mistakes:
        raise Invalid("\n".join(mistakes))
