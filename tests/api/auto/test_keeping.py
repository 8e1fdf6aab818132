"""The untrained features beside what ``auto`` trained."""

import pytest
import torch

from crosslens import api
from crosslens.api.auto.keeping import keep_untrained
from crosslens.api.summary import look_at_run
from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.parts import Untrained, Whitened
from crosslens.features.load import features_of
from testing.tiny_pictures import make_pictures


def test_head_and_features_move_scores_alike(run):
    before = load_encoder(run.folder)
    share = keep_untrained(run, look_at_run(run))
    after = load_encoder(run.folder)
    assert after.part(Untrained).share == pytest.approx(share)
    assert after.dim == before.dim + before.backbone.dim
    found = features_of(run.catalog(), after.backbone)
    photo, sketch = (after.encode_features(found.of_domain(name).centre, name) for name in ("photo", "sketch"))
    spread = [(photo[:, part] @ sketch[:, part].T).std() for part in (slice(before.dim), slice(before.dim, None))]
    assert spread[0] == pytest.approx(spread[1], rel=1e-4)


def test_done_again_it_is_the_same(run):
    share = keep_untrained(run, look_at_run(run))
    first = load_encoder(run.folder).fingerprint
    assert keep_untrained(run, look_at_run(run)) == pytest.approx(share)
    assert load_encoder(run.folder).fingerprint == first


def test_an_encoder_that_has_features_beside_it_stays_as_it_is(run):
    encoder = load_encoder(run.folder)
    width = encoder.backbone.dim
    beside = Whitened(torch.eye(width), {domain: torch.zeros(width) for domain in ("photo", "sketch")}, 0.3)
    encoder.with_part(beside).save(run.encoder_folder)
    assert keep_untrained(run, look_at_run(run)) is None
    assert Encoder.load(run.encoder_folder).part(Untrained) is None


def test_of_what_learned_nothing_there_is_nothing_to_look_at(tiny_world, tmp_path):
    plain = api.fit("centred", make_pictures(tmp_path / "p", 6), out=tmp_path / "run", backbone="tiny")
    assert look_at_run(plain) is None
