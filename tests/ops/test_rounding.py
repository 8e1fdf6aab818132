import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crosslens.encoder.parts import Whitened
from crosslens.labels.naming import centred_rows
from crosslens.labels.pseudo_labels import calibrated, pseudo_labels
from crosslens.ops.rounding import difference
from crosslens.ops.text_map import leave_one_out_score, mean_shift_score, ridge_map
from crosslens.ops.whitening import within_class_whitening
from crosslens.support.errors import ConfigError


def alike(seed: int, count: int = 7, dim: int = 384) -> torch.Tensor:
    """Rows that are one vector but for the last digits, as two processors or batch sizes compute it."""
    g = torch.Generator().manual_seed(seed)
    row = F.normalize(torch.randn(1, dim, generator=g), dim=1)
    return row * (1 + 1e-7 * torch.randn(count, dim, generator=g))


@given(st.integers(0, 100), st.sampled_from([1e-6, 1.0, 1e6]))
def test_what_rounding_left_is_nothing_and_what_is_there_stays(seed, scale):
    rows = scale * alike(seed)
    assert not difference(rows, rows.mean(0)).any()
    assert not difference(rows.t(), rows.t().mean(1, keepdim=True), dim=0).any()
    moved = rows.clone()
    moved[2] = moved[2].roll(1)
    found = difference(moved, rows[0])
    assert torch.equal(found[2], moved[2] - rows[0])
    assert not found[[1, 3, 4]].any()


def test_features_that_are_all_alike_have_no_direction():
    values = alike(0).half()[:, None].numpy()
    assert not centred_rows(values).any()
    mean = torch.from_numpy(values[:, 0]).float().mean(0)
    assert (
        not Whitened(torch.eye(384), {"photo": F.normalize(mean, dim=0)}, 0.5)
        .of_features(torch.from_numpy(values[:, 0]).float(), ["photo"] * 7)
        .any()
    )


def test_scores_that_are_all_alike_tell_no_class_and_no_confidence():
    scores = torch.cat([alike(1, 50, 3), torch.rand(50, 1, generator=torch.Generator().manual_seed(1))], dim=1)
    found = calibrated(scores, "standardise")
    assert not found[:, :3].any()
    assert found[:, 3].std() == pytest.approx(1, abs=1e-4)
    same = pseudo_labels(alike(2, 50, 3), 0.01, confidence="cosine", floor=0.0)
    assert not same.confidence.any()


def test_one_wording_in_two_batches_is_the_same_wording():
    first, second = torch.cat([alike(seed, 2) for seed in range(5)]).unflatten(0, (5, 2)).unbind(1)
    assert not torch.equal(first, second)
    assert mean_shift_score(first, second) == 1
    assert leave_one_out_score(first, second, 0.3) == 1


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-7])
def test_texts_that_depend_on_each_other_have_no_map_without_a_regulariser(noise):
    """Two names for one thing: whether the system passes must not be left to the last digits."""
    rows = F.normalize(torch.randn(6, 20, generator=torch.Generator().manual_seed(0)).double(), dim=1)
    rows = torch.cat([rows, rows[:1] + noise * rows[1:2]])
    for _ in range(5):
        rows = rows[torch.randperm(7)]
        with pytest.raises(ConfigError, match="linearly"):
            ridge_map(rows, rows, 0.0, solver="dual")
    assert torch.isfinite(ridge_map(rows, rows, 1e-6)).all()


def test_rows_of_lower_rank_are_whitened_where_they_are():
    """Two of six directions hold nothing; the others' map is the one without them."""
    g = torch.Generator().manual_seed(3)
    rows = F.normalize(torch.randn(80, 4, generator=g), dim=1)
    labels, weights = torch.randint(0, 3, (80,), generator=g), torch.ones(80)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=g))[0]
    full = within_class_whitening(rows, labels, weights, 3, ridge=1e-30)
    lower = within_class_whitening(F.pad(rows, (0, 2)) @ turn, labels, weights, 3, ridge=1e-30)
    back = turn @ lower @ turn.t()
    assert torch.allclose(back[:4, :4] / back[0, 0], full / full[0, 0], atol=1e-3)
    assert back[4:].abs().max() < 1e-3 * back.abs().max()
