"""Methods by name: one way each to obtain an Encoder."""

from __future__ import annotations

from importlib import import_module
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
    "tki": "crosslens.methods.tki.method:TKI",
    "clair": "crosslens.methods.clair.method:Clair",
    "text-map": "crosslens.methods.text_map:TextMap",
    "uem": "crosslens.methods.uem.method:UEM",
    "supervised": "crosslens.methods.supervised:Supervised",
}


def method_class(name: str) -> type[Method[Any]]:
    """The class of a method.

    Raises:
        ConfigError: for an unknown name, listing the known ones.
    """
    if name not in METHODS:
        raise ConfigError(f"there is no method {name!r}; known: {', '.join(METHODS)}{did_you_mean(name, METHODS)}")
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method[Any]] = getattr(import_module(module), attribute)
    return found
