"""Transformers known by their constructor's arguments: equality, hash, representation, copies and pickles."""

import copy
import inspect
import os
import uuid
import weakref
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Self

import pyterrier as pt

_ORIGINALS: "weakref.WeakValueDictionary[tuple[int, str], Configured]" = weakref.WeakValueDictionary()


class Configured(pt.Transformer):
    """A transformer that pickles as its constructor's arguments.

    It unpickles to the original in the process that made it, so that a parallel ``pt.GridSearch`` tunes the
    pipeline it was given; elsewhere, to a new one with the same arguments. Equality is of class and arguments; the
    hash leaves out what a grid search changes.
    """

    #: Names of arguments that change while a pipeline is tuned.
    TUNABLE: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Registers the new transformer; subclasses may not rely on arguments here."""
        made: Self = super().__new__(cls)  # type: ignore[no-untyped-call]
        made._token = (os.getpid(), uuid.uuid4().hex)
        _ORIGINALS[made._token] = made
        return made

    _token: tuple[int, str]

    def configuration(self) -> dict[str, Any]:
        """Returns the constructor's arguments by name."""
        return {attribute.name: attribute.value for attribute in pt.inspect.transformer_attributes(self)}

    def __repr__(self) -> str:
        """Returns the constructor's call with the arguments that are not defaults, and those that are tuned.

        It evaluates to an equal transformer, unless an argument is an object without such a representation, as a text
        loader may be.
        """
        positional: list[str] = []
        keywords: list[str] = []
        for attribute in pt.inspect.transformer_attributes(self):
            tunable = attribute.name in self.TUNABLE
            if attribute.value == attribute.init_default_value and not tunable:
                continue
            written = _written(getattr(self, attribute.name))
            if keywords or tunable or attribute.init_parameter_kind != inspect.Parameter.POSITIONAL_OR_KEYWORD:
                keywords.append(f"{attribute.name}={written}")
            else:
                positional.append(written)
        return f"{type(self).__name__}({', '.join(positional + keywords)})"

    def copy(self, **changed: object) -> Self:
        """Returns a new transformer with the same arguments but for those given."""
        return type(self)(**{**self.configuration(), **changed})

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self._token, self.configuration())

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        inner = {name: copy.deepcopy(value, memo) for name, value in self.configuration().items()
                 if isinstance(value, pt.Transformer)}
        memo[id(self)] = made = self.copy(**inner)
        return made

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.configuration() == other.configuration()

    def __hash__(self) -> int:
        return hash((type(self), *(_hash(value) for name, value in self.configuration().items()
                                   if name not in self.TUNABLE)))


def _written(value: object) -> str:
    """Returns an argument as code; whole numbers without ".0"."""
    return str(value).removesuffix(".0") if isinstance(value, float) else repr(value)


def _hash(value: object) -> int:
    """Returns a hash that equal arguments share; a transformer's own, so that what is tuned inside it stays out."""
    if isinstance(value, Mapping):
        return hash(frozenset(value.items()))
    return hash(value) if isinstance(value, Hashable) else hash(type(value))


def _revive(cls: type[Configured], token: tuple[int, str], configuration: dict[str, Any]) -> Configured:
    original = _ORIGINALS.get(token)
    if token[0] == os.getpid() and original is not None:
        return original
    made = cls(**configuration)
    made._token = token  # so that it finds the original on its way back
    return made
