"""Made-up texts of classes under domain words, as TKI's expansion gives them."""

import torch
from torch.nn import functional as F

from crosslens.methods.tki.domain_words import DomainTexts


def synthetic(words=20, names=30, dim=24, domains=6, seed=0):
    """Texts that are a class plus a domain, the domains in a subspace of their own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    classes, looks = draw(names, dim), draw(words, domains) @ draw(domains, dim) / domains**0.5
    u = F.normalize(classes[None] + 1.5 * looks[:, None] + 0.1 * draw(words, names, dim), dim=2)
    t = F.normalize(classes, dim=1)
    return DomainTexts(draw(words, 4), F.normalize(looks, dim=1), u, t, torch.ones(words))
