"""Folders of the package that can be called as the verb whose name they have.

``crosslens.search`` is the verb and the folder ``crosslens/search`` at once: whoever imports anything from the
folder makes it that attribute. So the folder is a module that can be called, and calls the verb of
``crosslens.api``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _VerbModule(ModuleType):
    """A module that can be called as the function of its name in ``crosslens.api``."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the verb gives; ``help(crosslens.api.NAME)`` tells its options."""
        return self._verb(*arguments, **options)

    @property
    def __signature__(self) -> Signature:
        return signature(self._verb)

    @property
    def _verb(self) -> Callable[..., Any]:
        package, _, name = self.__name__.rpartition(".")
        # By name, when it is called: this room stands below the one that holds the verbs.
        return getattr(import_module(f"{package}.api"), name)


def make_callable(module: str) -> None:
    """Let the module of this name be called as the verb; for the end of its ``__init__``."""
    sys.modules[module].__class__ = _VerbModule
