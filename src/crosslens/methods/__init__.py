"""Methods by name: one way each to obtain an Encoder."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from crosslens.support.errors import ConfigError
from crosslens.support.near_names import did_you_mean

if TYPE_CHECKING:
    from crosslens.methods.base import Method

# The order is the one in which they are listed to users; a new method is a line here.
METHODS: dict[str, str] = {
    "frozen": "crosslens.methods.baselines:Frozen",
    "centred": "crosslens.methods.baselines:Centred",
    "instance": "crosslens.methods.instance:Instance",
    "protonce": "crosslens.methods.protonce:ProtoNCE",
    "ucdir": "crosslens.methods.ucdir:UCDIR",
    "protoot": "crosslens.methods.protoot:ProtoOT",
    "tki": "crosslens.methods.tki.method:TKI",
    "clair": "crosslens.methods.clair.method:Clair",
    "text-map": "crosslens.methods.text_map:TextMap",
    "uem": "crosslens.methods.uem.method:UEM",
    "supervised": "crosslens.methods.supervised:Supervised",
}

UNTRAINED = ("frozen", "centred")
"""Those that need no training, which others are held against."""
AUTO = "auto"
"""In place of a name: chosen by what there is; see ``crosslens.api.auto``."""

_PLUG_INS = "crosslens.methods"
"""The entry point group under which other packages name their methods."""


def known_methods() -> list[str]:
    """The names of all methods: crosslens' own, then those of other packages that are installed."""
    return [*METHODS, *_plug_ins()]


def method_class(name: str) -> type[Method[Any]]:
    """The class of a method.

    Raises:
        ConfigError: for an unknown name, listing the known ones, or a method of another package that cannot be
            loaded.
    """
    if name in METHODS:
        module, _, attribute = METHODS[name].partition(":")
        found: type[Method[Any]] = getattr(import_module(module), attribute)
        return found
    plug_ins = _plug_ins()
    if name not in plug_ins:
        known = [*METHODS, *plug_ins]
        raise ConfigError(f"there is no method {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")
    return _loaded(plug_ins[name])


def _plug_ins() -> dict[str, EntryPoint]:
    # A package cannot take the place of a method that is here: numbers would change under its name.
    return {point.name: point for point in entry_points(group=_PLUG_INS) if point.name not in METHODS}


def _loaded(point: EntryPoint) -> type[Method[Any]]:
    from crosslens.methods.base import Method

    package = point.dist.name if point.dist is not None else point.value
    try:
        found = point.load()
    except Exception as error:
        # Whatever the code of somebody else raises while it is imported.
        raise ConfigError(f"the method {point.name} of the package {package} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Method) and found.name == point.name):
        raise ConfigError(
            f"{point.value} of the package {package} is no method called {point.name}: give a class of Method"
            " whose name is that of the entry point"
        )
    return found
