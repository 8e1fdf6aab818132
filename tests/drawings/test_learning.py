from __future__ import annotations

import torch
from torch.nn import functional as F

from crosslens.backbones.drawings.reader import DrawingReader
from drawings.learning import teach
from drawings.selection import Icon
from drawings.views import plan_views


def test_a_reader_learns_which_rows_are_which_name() -> None:
    generator = torch.Generator().manual_seed(0)
    reader = DrawingReader((16, 16), 8)
    width = len(reader.mean)
    patterns = torch.randn(5, width, generator=generator)
    names = torch.randint(5, (640,), generator=generator)
    rows = (patterns[names] + 0.5 * torch.randn(640, width, generator=generator)).half()
    targets = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    losses = teach(reader, rows, names, targets, epochs=30, batch=64)
    assert losses[-1] < losses[0]
    fresh = patterns + 0.5 * torch.randn(5, width, generator=generator)
    with torch.inference_mode():
        assert (reader(fresh) @ targets.T).argmax(1).tolist() == [0, 1, 2, 3, 4]
    assert not reader.training


def test_every_icon_is_drawn_once_before_any_is_drawn_again() -> None:
    icons = [Icon("a", str(at), "often" if at < 20 else "seldom") for at in range(23)]
    plan = plan_views(icons)
    assert plan[:23] == list(range(23))
    counts = [plan.count(at) for at in range(23)]
    assert counts[:20] == [2] * 20
    assert counts[20:] == [4] * 3
