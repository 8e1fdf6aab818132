"""Which of the domains that an encoder treats apart a name means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crosslens.data.names import AmbiguousNameError, Spelling, nfc, read_name
from crosslens.search.filters.conditions import Eq
from crosslens.search.index.items import count_domains
from crosslens.search.query.query import AUTO
from crosslens.support.errors import ConfigError
from crosslens.support.near_names import did_you_mean

if TYPE_CHECKING:
    from crosslens.search.index.index import Index


def resolve_domain(
    name: str | None, domains: Sequence[str], index: Index | None = None
) -> tuple[str | None, tuple[str, ...]]:
    """The domain that is meant, as the encoder spells it, and what to say of the way there.

    Args:
        name: as somebody wrote it; None and ``auto`` stay what they are.
        domains: those that the encoder treats apart; where there are none, every name is fine, and one that the
            index does not know either is said.
        index: nothing is said of a domain of its items: they too were encoded as of unknown domain.

    Raises:
        ConfigError: for a name that is blank, holds control characters or could be either of two.
    """
    if name is None:
        return None, ()
    try:
        given = read_name(name)
        if given == AUTO:
            return given, ()
        if not domains:
            return given, _unknown_to_all(given, index)
        meant = Spelling(domains).find(given)
    except ValueError as error:
        raise ConfigError(f"the domain {name[:100]!r} {error}; name one, or leave it out") from error
    except AmbiguousNameError as error:
        raise ConfigError(f"the domain {error}") from error
    if meant is not None and nfc(meant) == given:
        return meant, ()
    if meant is None and index is not None and index.count(Eq(field="domain", value=given)):
        return given, ()
    unknown = f"the encoder knows no domain {given[:100]!r}, only {', '.join(domains)}"
    if meant is None:
        return given, (f"{unknown}; the pictures count as of unknown domain{did_you_mean(given, domains)}",)
    return meant, (f"{unknown}; it is taken for {meant!r}",)


def _unknown_to_all(name: str, index: Index | None) -> tuple[str, ...]:
    if index is None or index.count(Eq(field="domain", value=name)):
        return ()
    known = list(count_domains(index.store))
    return (
        f"the index holds no domain {name[:100]!r}, only {', '.join(known[:10]) or 'none'}, and its encoder treats"
        f" none apart, so the name changes nothing{did_you_mean(name, known)}",
    )
