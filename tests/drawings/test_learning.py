from __future__ import annotations

import torch
from torch.nn import functional as F

from crosslens.backbones.drawings.reader import DrawingReader
from crosslens.backbones.lite import PhotoBackbone
from drawings.learning import WORDINGS, name_targets, teach
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


def test_a_name_lies_between_what_is_said_of_it() -> None:
    targets = name_targets(["cat", "guitar"])
    assert targets.shape == (2, 384)
    assert torch.allclose(targets.norm(dim=1), torch.ones(2), atol=1e-5)
    photo = PhotoBackbone()
    for name, target in zip(["cat", "guitar"], targets, strict=True):
        said = photo.embed_texts([wording.format(name) for wording in WORDINGS])
        other = photo.embed_texts([wording.format("bicycle") for wording in WORDINGS])
        assert float((said @ target).min()) > float((other @ target).max())


def test_every_icon_is_drawn_once_before_any_is_drawn_again() -> None:
    icons = [Icon("a", str(at), "often" if at < 20 else "seldom") for at in range(23)]
    plan = plan_views(icons)
    assert plan[:23] == list(range(23))
    counts = [plan.count(at) for at in range(23)]
    assert counts[:20] == [2] * 20
    assert counts[20:] == [4] * 3
