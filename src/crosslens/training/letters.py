"""What domains are called in the log of a training."""

from __future__ import annotations

from string import ascii_lowercase


def domain_letters(count: int) -> list[str]:
    """A name for each domain, in their order: a to z, then a2 to z2 and so on."""
    return [ascii_lowercase[n % 26] + (str(n // 26 + 1) if n >= 26 else "") for n in range(count)]
