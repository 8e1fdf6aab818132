"""TKI's second stage on made-up texts: variants, the temperature rule, the choice of the epoch, the stop."""

import numpy as np
import pytest
import torch

from crosslens.methods.tki.domain_words import DomainTexts
from crosslens.methods.tki.method import TKIConfig
from crosslens.methods.tki.text_aggregation import Aggregation
from testing.domain_texts import synthetic


def trained(texts, seed=0, **settings):
    job = Aggregation(TKIConfig(**settings), texts, seed)
    scores = [job.held_score()]
    for epoch in range(job.epochs):
        job.start_epoch(epoch)
        for step in range(job.steps):
            losses = job.step(epoch, step)
            job.optimizer.zero_grad()
            losses["total"].backward()
            job.optimizer.step()
        scores.append(job.observe(epoch)["heldout_text_map"])
    return job, float(losses["total"].detach()), scores


@pytest.mark.parametrize("geometry", ["mobius", "hnnpp", "euclid_exp", "euclid"])
def test_aggregation_brings_texts_of_a_class_together(geometry):
    settings = {"epochs": 15, "batch_size": 64, "patience": 0, "stop_at": 0}
    job, last, scores = trained(synthetic(), geometry=geometry, **settings)
    assert last < 0.85 * job.first_loss
    # Names that training never saw are found better under words it never saw.
    assert len(job.held_names) == 3
    assert job.best >= scores[0]
    before, after = text_retrieval(job, raw=True), text_retrieval(job)
    assert after > before + 0.1


def text_retrieval(job, raw=False):
    """mAP of all descriptions among each other: the same class under another word is relevant."""
    words, names = job.u.shape[:2]
    rows = job.u.flatten(0, 1)
    with torch.no_grad():
        z = rows if raw else job.projection(rows)
        distances = -z @ z.t() if raw else job.projection.distance(z, z)
    distances.fill_diagonal_(1e9)
    labels = torch.arange(names).repeat(words)
    relevant = (labels[distances.argsort(dim=1)] == labels[:, None]).double()
    precision = relevant.cumsum(1) / torch.arange(1, len(rows) + 1)
    return float(((precision * relevant).sum(1) / relevant.sum(1)).mean())


@pytest.mark.parametrize(
    "settings",
    [
        {"proxies": "class"},
        {"slope": 1.0},
        {"proxies": "class", "geometry": "euclid"},
    ],
)
def test_every_variant_lowers_its_loss(settings):
    texts = synthetic(words=8, names=10)
    first = trained(texts, epochs=1, batch_size=32, **settings)[1]
    assert trained(texts, epochs=12, batch_size=32, patience=0, **settings)[1] < first


def test_text_proxies_stay_where_the_names_were_and_projected_ones_move():
    texts = synthetic(words=8, names=10)
    for proxies in ("text", "class"):
        job = Aggregation(TKIConfig(proxies=proxies, stop_at=0.0, patience=0), texts, 0)
        before = job._proxies().detach().clone()
        trained_job = trained(texts, proxies=proxies, epochs=3, batch_size=32, stop_at=0.0, patience=0)[0]
        moved = not torch.allclose(trained_job._proxies(), before, atol=1e-6)
        assert moved == (proxies == "class")


def test_the_temperature_rule_takes_the_share_nearest_to_its_middle():
    job = Aggregation(TKIConfig(), synthetic(), 0)
    losses = {tau: float(job._probe(tau)) / np.log(len(job.names)) for tau in (0.1, 0.2, 0.4, 1.0)}
    assert job.temperature == min(losses, key=lambda tau: abs(losses[tau] - 0.775))
    assert Aggregation(TKIConfig(temperature=0.3), synthetic(), 0).temperature == 0.3


def test_held_out_texts_alone_choose_the_epoch(monkeypatch):
    texts = synthetic(words=10, names=40)
    scores = iter([0.4, 0.5, 0.7, 0.7, 0.6, 0.6])
    monkeypatch.setattr(Aggregation, "held_score", lambda self: next(scores))
    job = Aggregation(TKIConfig(hold_out=0.1, patience=2), texts, 0)
    assert (job.train_words, job.held_words, len(job.names), len(job.held_names)) == (9, 1, 36, 4)
    assert sorted(torch.cat([job.names, job.held_names]).tolist()) == list(range(40))
    kept = []
    for epoch in range(5):
        with torch.no_grad():
            job.projection.layers[0].bias.fill_(float(epoch))
        job.observe(epoch)
        kept.append((job.best_epoch, job.is_done()))
    assert kept == [(0, False), (1, False), (2, False), (2, False), (2, True)]
    assert job.finish().layers[0].bias[0].item() == 2.0
    assert not any("stays as it began" in warning for warning in job.warnings())
    monkeypatch.undo()
    few = Aggregation(TKIConfig(), synthetic(words=10, names=7), 0)
    assert len(few.names) == 7


def test_the_start_stays_where_no_epoch_is_as_good_on_held_out_texts():
    """Descriptions that name another class in training than where they are held out: all learning is wrong."""
    texts = synthetic(words=10, names=10)
    turned = texts.texts.clone()
    turned[:9] = turned[:9].roll(1, dims=1)
    job, _, scores = trained(DomainTexts(**vars(texts) | {"texts": turned}), epochs=6, lr=0.02, stop_at=0)
    assert max(scores[1:]) < scores[0]
    assert (job.best, job.best_epoch) == (scores[0], -1)
    kept = job.finish()
    # The residual start is the space itself.
    with torch.no_grad():
        assert torch.allclose(kept.tangent(kept(texts.classes)), texts.classes, atol=0.03)
    assert any("stays as it began" in warning for warning in job.warnings())
    assert job.facts()["epoch"] == -1
    assert job.facts()["held-out retrieval before training"] == round(scores[0], 4)


def test_held_out_texts_are_ranked_among_all_names():
    """Against a slow loop: names that training had count as wrong answers too."""
    job = Aggregation(TKIConfig(hold_out=0.2), synthetic(words=10, names=25), 0)
    ranks = []
    for word in range(job.train_words, job.train_words + job.held_words):
        for name in job.held_names.tolist():
            with torch.no_grad():
                z, p = job.projection(job.u[word, name : name + 1]), job.projection(job.t)
                row = job.projection.distance(z, p)[0]
            ranks.append(1 + sum(float(d) < float(row[name]) for d in row))
    assert (job.held_words, len(job.held_names)) == (2, 5)
    assert job.held_score() == pytest.approx(sum(1 / rank for rank in ranks) / len(ranks))


def test_training_stops_when_the_loss_is_low_enough():
    texts = synthetic(words=8, names=10)
    shares = []
    job = Aggregation(TKIConfig(temperature=0.4, stop_at=0.3, patience=0, batch_size=16), texts, 0)
    for epoch in range(job.epochs):
        assert not job.is_done()
        for step in range(job.steps):
            losses = job.step(epoch, step)
            job.optimizer.zero_grad()
            losses["total"].backward()
            job.optimizer.step()
        shares.append(job.observe(epoch)["loss_share"])
        if job.is_done():
            break
    assert shares[-1] < 0.3 <= min(shares[:-1])
    assert epoch + 1 < job.epochs
    assert shares[-1] == pytest.approx(float(job._probe()) / np.log(10))


def test_a_loss_that_begins_near_zero_is_warned_of():
    texts = synthetic()
    same = texts.classes[None].expand(len(texts.words), -1, -1).contiguous()
    job = Aggregation(TKIConfig(temperature=0.01), DomainTexts(**vars(texts) | {"texts": same}), 0)
    job.observe(0)
    assert any("raise the temperature" in warning for warning in job.warnings())
