"""Evaluation with the functions and classes that were there before the submission was imported."""

import builtins
import contextlib
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_DESCRIPTORS = (staticmethod, classmethod, property)
_ABSENT = object()


class _Owner(NamedTuple):
    """A module or class, with the functions and classes that it had, and the names that it may not get besides."""

    owner: Any
    pinned: dict[str, Any]
    names: frozenset[str]
    inherited: frozenset[str]


class PinnedCode:
    """What the loaded modules below `packages` hold now: functions, classes, their methods, and the code of all these.

    Args:
      packages: names of modules; each counts with the modules below it.
    """

    def __init__(self, packages: Sequence[str]) -> None:
        self._owners: list[_Owner] = []
        self._code: list[tuple[types.FunctionType, types.CodeType]] = []
        classes: set[type] = set()
        for module in _loaded_below(packages):
            classes |= {value for value in vars(module).values() if _is_class_below(value, packages)}
            self._pin(module, frozenset(vars(builtins)))
        for cls in classes:
            inherited = frozenset(name for base in cls.__mro__[1:-1] for name in vars(base)) | {"__call__"}
            self._pin(cls, inherited)

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Within the block everything is as it was when this object was made; afterwards as it was before the block."""
        changed = [(owner, name, original) for owner, name, original in self._changes()]
        before = [(owner, name, vars(owner).get(name, _ABSENT)) for owner, name, _ in changed]
        codes = [(function, function.__code__) for function, code in self._code if function.__code__ is not code]
        _set_all(changed)
        for function, code in self._code:
            if function.__code__ is not code:
                function.__code__ = code
        try:
            yield
        finally:
            _set_all(before)
            for function, code in codes:
                function.__code__ = code

    def changed_names(self, packages: Sequence[str]) -> list[str]:
        """What was replaced or given other code since, in the modules below `packages`: full names, sorted."""
        prefixes = tuple(f"{package}." for package in packages)
        names = {f"{_name_of(owner)}.{name}" for owner, name, _ in self._changes()}
        names |= {
            f"{function.__module__}.{function.__qualname__}"
            for function, code in self._code
            if function.__code__ is not code
        }
        return sorted(name for name in names if name.startswith(prefixes))

    def _pin(self, owner: Any, inherited: frozenset[str]) -> None:
        entries = vars(owner)
        pinned = {n: value for n, value in entries.items() if callable(value) or isinstance(value, _DESCRIPTORS)}
        self._owners.append(_Owner(owner, pinned, frozenset(entries), inherited))
        for value in pinned.values():
            self._code += [(function, function.__code__) for function in _functions_of(value)]

    def _changes(self) -> Iterator[tuple[Any, str, Any]]:
        for owner, pinned, names, inherited in self._owners:
            entries = vars(owner)
            for name, original in pinned.items():
                if entries.get(name, _ABSENT) is not original:
                    yield owner, name, original
            for name in entries.keys() - names:
                if name in inherited and callable(getattr(owner, name)):
                    yield owner, name, _ABSENT


def _name_of(owner: Any) -> str:
    return f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else str(owner.__name__)


def _functions_of(value: Any) -> Iterator[types.FunctionType]:
    """The function behind a method or property, and what it wraps."""
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    while isinstance(function, types.FunctionType):
        yield function
        function = vars(function).get("__wrapped__")


def _loaded_below(packages: Sequence[str]) -> list[types.ModuleType]:
    prefixes = tuple(f"{package}." for package in packages)
    return [
        module
        for name, module in list(sys.modules.items())
        if isinstance(module, types.ModuleType) and (name in packages or name.startswith(prefixes))
    ]


def _is_class_below(value: Any, packages: Sequence[str]) -> bool:
    if not isinstance(value, type) or not value.__flags__ & 1 << 9:  # classes of extensions cannot be changed
        return False
    module = str(value.__module__)
    return module in packages or module.startswith(tuple(f"{package}." for package in packages))


def _set_all(attributes: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in attributes:
        with contextlib.suppress(AttributeError, TypeError):  # classes that refuse, and what has gone meanwhile
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
