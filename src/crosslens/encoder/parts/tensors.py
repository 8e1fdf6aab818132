"""How parts name, order and look up their tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

import torch
from torch import Tensor


class DomainColumn(Sequence[str | None]):
    """The domain of every row, as an input of a network that is exported: numbers in place of names.

    Args:
        known: K names that a row may have, None among them.
        numbers: of each row's name among them ``(N,)``, int64.
    """

    def __init__(self, known: Sequence[str | None], numbers: Tensor) -> None:
        self.known, self.numbers = tuple(known), numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, row: int) -> str | None: ...

    @overload
    def __getitem__(self, row: slice) -> DomainColumn: ...

    def __getitem__(self, row: int | slice) -> str | DomainColumn | None:
        if isinstance(row, slice):
            return DomainColumn(self.known, self.numbers[row])
        return self.known[int(self.numbers[row])]


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with ``prefix`` before their names."""
    return {prefix + key: value for key, value in tensors.items()}


def take_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the tensors whose names begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def sort_domains(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One float32 tensor a domain, on the CPU, in the order of the domains' names."""
    return {domain: tensor.detach().cpu().float() for domain, tensor in sorted(tensors.items())}


def number_domains(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of several domains as files name them, ``mean.0`` and so on; the settings list the domains."""
    return {f"{prefix}{index}": tensor for index, tensor in enumerate(tensors.values())}


def read_domains(prefix: str, tensors: Mapping[str, Tensor], domains: Sequence[str]) -> dict[str, Tensor]:
    """The tensors by domain that ``number_domains`` named.

    Raises:
        KeyError: when one is missing.
    """
    return {domain: tensors[f"{prefix}{index}"] for index, domain in enumerate(domains)}


def pick_means(means: Mapping[str, Tensor], names: Sequence[str | None]) -> Tensor:
    """The mean ``(D,)`` of each name's domain, ``(N, D)``; of all domains' means where a name is unknown."""
    unknown = torch.stack(list(means.values())).mean(0)
    if isinstance(names, DomainColumn):
        return torch.stack([means.get(name or "", unknown) for name in names.known])[names.numbers]
    return torch.stack([means.get(name or "", unknown) for name in names])


def mask_domain(names: Sequence[str | None], domain: str) -> Tensor:
    """Which rows are of a domain ``(N,)``, bool."""
    if isinstance(names, DomainColumn):
        return torch.tensor([name == domain for name in names.known])[names.numbers]
    return torch.tensor([name == domain for name in names])


def text_bytes(text: str) -> Tensor:
    """A text's bytes as a tensor ``(L,)``, so that a fingerprint can cover it."""
    return torch.tensor(list(text.encode()))
