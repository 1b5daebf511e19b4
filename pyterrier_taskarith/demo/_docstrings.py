"""Collect the public docstrings of installed packages: ``python _docstrings.py OUT.json PACKAGE ...``.

Meant for a process of its own, whose output nobody reads: importing every submodule of a package is noisy and leaves
much behind. Only the standard library is used, so that the file runs by its path, without the package around it.
"""

import importlib
import inspect
import json
import pkgutil
import re
import sys
import types
import warnings
from typing import Any

MINIMUM_CHARACTERS = 80  # a shorter docstring says too little to be searched for
PRIVATE = re.compile(r"^_|^(tests?|testing|conftest|f2py|distutils)$")

# The docstring and the container that a name leads to, by number, and whether it is borrowed: inherited, or re-exported
# from another package.
Member = tuple[int | None, int | None, bool]


class Inventory:
    """The public names of packages as a graph, and the docstrings they lead to.

    A container is a module or a class; its members are what attribute access gives by name: a docstring, another
    container, both (a class) or neither (something without a docstring of its own). Docstrings are told apart by their
    text, so one that stands under several names, by inheritance or re-export, is one docstring. What a module merely
    imports is kept apart: authors use such names, but they are not where a thing is documented.
    """

    def __init__(self, packages: list[str]) -> None:
        self.packages = packages
        self.texts: list[str] = []
        self.containers: list[dict[str, Member]] = []
        self.imports: list[dict[str, Member]] = []
        self.roots: dict[str, int] = {}
        self.skipped: dict[str, str] = {}
        self._number_of_text: dict[str, int] = {}
        self._number_of_container: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id is used twice
        for package in packages:
            self.roots[package] = self._module(importlib.import_module(package))
        for number, thing in enumerate(self._kept):
            if inspect.ismodule(thing):
                self.imports[number] = self._imports(thing, self.containers[number])

    def as_json(self) -> dict[str, Any]:
        """What the reading process needs."""
        return {
            "roots": self.roots, "containers": self.containers, "imports": self.imports, "texts": self.texts,
            "skipped": self.skipped,
        }

    def _container(self, thing: Any) -> tuple[int, bool]:
        """The number of a module or class, and whether it is new."""
        if id(thing) in self._number_of_container:
            return self._number_of_container[id(thing)], False
        self._kept.append(thing)
        self.containers.append({})
        self.imports.append({})
        return self._number_of_container.setdefault(id(thing), len(self.containers) - 1), True

    def _text(self, text: str | None) -> int | None:
        if text is None or len(text) < MINIMUM_CHARACTERS:
            return None
        if text not in self._number_of_text:
            self._number_of_text[text] = len(self.texts)
            self.texts.append(text)
        return self._number_of_text[text]

    def _is_foreign(self, value: Any) -> bool:
        """Whether a value was made elsewhere, in the standard library say.

        A package may re-export what another has (scipy.special.sinc is numpy's), and compiled things may give a wrong
        home (scipy's SuperLU says "builtins"): only what is really found in a foreign home is foreign.
        """
        home = getattr(value, "__module__", None)
        if not isinstance(home, str) or home.split(".")[0] in self.packages:
            return False
        return getattr(sys.modules.get(home), getattr(value, "__name__", ""), None) is value

    def _module(self, module: types.ModuleType) -> int:
        number, new = self._container(module)
        if not new:
            return number
        members = self.containers[number]
        for name in public_names(module):
            value = vars(module).get(name)
            if value is None or inspect.ismodule(value) or self._is_foreign(value):
                continue
            home = getattr(value, "__module__", None)
            borrowed = isinstance(home, str) and home.split(".")[0] != module.__name__.split(".")[0]
            members[name] = self._text(own_docstring(value, self.packages)), self._class(value), borrowed
        for info in pkgutil.iter_modules(getattr(module, "__path__", []), module.__name__ + "."):
            name = info.name.rpartition(".")[2]
            if PRIVATE.search(name):
                continue
            try:
                submodule = importlib.import_module(info.name)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # optional dependencies are absent, scripts exit
                self.skipped[info.name] = f"{type(error).__name__}: {error}"
                continue
            text = members[name][0] if name in members else None  # a function may have its module's name
            members[name] = text, self._module(submodule), False
        return number

    def _imports(self, module: types.ModuleType, members: dict[str, Member]) -> dict[str, Member]:
        """What else a module's names lead to, of what is known already."""
        found = {}
        for name, value in vars(module).items():
            if name.startswith("_") or name in members:
                continue
            text = None if inspect.ismodule(value) else own_docstring(value, self.packages)
            member = self._number_of_text.get(text or ""), self._number_of_container.get(id(value)), True
            if member[:2] != (None, None):
                found[name] = member
        return found

    def _class(self, value: Any) -> int | None:
        if not inspect.isclass(value) or self._is_foreign(value):
            return None
        number, new = self._container(value)
        if new:
            members = self.containers[number]
            for name in dir(value):
                bases = [base for base in value.__mro__ if name in vars(base) and not self._is_foreign(base)]
                if name.startswith("_") or not bases:
                    continue
                # An override without a docstring has that of the method it overrides, as inspect.getdoc says.
                found = [own_docstring(attribute(base, name), self.packages) for base in bases]
                borrowed = bases[0] is not value or not found[0]
                text = next((text for text in found if text), None)
                members[name] = self._text(text), self._class(attribute(value, name)), borrowed
        return number


def public_names(module: types.ModuleType) -> list[str]:
    """What a module states in ``__all__``, and what says that it is at home there, by ``__module__``."""
    stated = getattr(module, "__all__", None) or ()
    at_home = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return [name for name in dict.fromkeys([*stated, *at_home]) if not name.startswith("_")]


def attribute(owner: type, name: str) -> Any:
    """What ``owner.name`` gives, so that an accessor is the class behind it; None where that raises."""
    try:
        return getattr(owner, name)
    except Exception:
        return None


def own_docstring(value: Any, packages: list[str]) -> str | None:
    """The clean docstring of an object; None if it is only its type's, as for a constant."""
    try:
        text = value.__doc__
    except Exception:
        return None
    if not isinstance(text, str):
        return None
    kind = type(value)
    if not inspect.isclass(value) and text == kind.__doc__:
        # The docstring of the type describes the object only where the object is all there is of it: numpy.c_.
        home = f"{kind.__module__}.{kind.__qualname__}".split(".")
        if home[0] not in packages or not any(part.startswith("_") for part in home):
            return None
    return inspect.cleandoc(text)


def main(out: str, packages: list[str]) -> None:
    """Write the inventory of the packages to a JSON file."""
    warnings.simplefilter("ignore")
    inventory = Inventory(packages)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(inventory.as_json(), file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
