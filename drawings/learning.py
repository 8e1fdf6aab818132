"""The reader learns: from what the frozen network holds of a view to the text vector of the icon's name."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones.drawings.reader import DrawingReader
from crosslens.backbones.lite import PhotoBackbone

WORDINGS = ("{}", "a photo of a {}", "a drawing of a {}")
"""A name's target is the mean of these sentences: what one asks for and what one sees."""

PRIOR = 0.5
"""How far names with many views start ahead."""


def name_targets(names: list[str]) -> Tensor:
    """Unit rows ``(names, 384)`` of the space shared with text."""
    photo = PhotoBackbone()
    said = [torch.from_numpy(photo.sentences([wording.format(name) for name in names])) for wording in WORDINGS]
    return photo.place_texts(torch.stack(said).mean(0))


def teach(
    reader: DrawingReader,
    rows: Tensor,
    names: Tensor,
    targets: Tensor,
    *,
    epochs: int = 6,
    rate: float = 1e-3,
    temperature: float = 0.08,
    batch: int = 512,
    seed: int = 1,
) -> list[float]:
    """Softmax over all names, by the cosine with their targets.

    Names with many views start ahead by part of the logarithm of their share (logit adjustment, Menon et al. 2021)
    and do not crowd out rare ones. More epochs learn the icons by heart and read other drawings worse.

    Args:
        reader: changed in place, left in evaluation mode.
        rows: views ``(N, R)``, half.
        names: of each view ``(N,)``, places in ``targets``.
        targets: unit rows ``(K, J)``.
        epochs: passes.
        rate: highest learning rate of AdamW, with a cosine.
        temperature: of the softmax.
        batch: views a step.
        seed: of the order and the dropout.

    Returns:
        The mean loss of each epoch.
    """
    torch.manual_seed(seed)
    sample = rows[torch.randperm(len(rows))[:20_000]].float()
    deviation = sample.std(0)
    reader.mean.copy_(sample.mean(0))
    # What hardly ever changes must not be blown up.
    reader.scale.copy_(1 / (deviation + 0.05 * deviation.mean()))
    optimiser = torch.optim.AdamW(reader.parameters(), rate, weight_decay=0.01)
    steps = epochs * (len(rows) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    shares = torch.bincount(names, minlength=len(targets)).float() + 1
    ahead = PRIOR * (shares / shares.sum()).log()
    reader.requires_grad_(True).train()
    losses = []
    for epoch in range(epochs):
        order = torch.randperm(len(rows))
        total, count = 0.0, 0
        for start in range(0, len(rows) - batch + 1, batch):
            some = order[start : start + batch]
            loss = F.cross_entropy(reader(rows[some].float()) @ targets.t() / temperature + ahead, names[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total, count = total + loss.item(), count + 1
        losses.append(total / count)
        print(f"reader: epoch {epoch + 1} of {epochs}, loss {losses[-1]:.3f}", flush=True)
    reader.requires_grad_(False).eval()
    return losses
