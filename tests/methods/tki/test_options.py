"""Every option of TKI does what it says: one step of either stage against the losses written out."""

import pytest
import torch
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.prompts import MeanPrompts, word_prompts
from crosslens.losses.text import proxy_nca
from crosslens.methods.tki.domain_words import JointWords, SequentialWords, WordsConfig, expand
from crosslens.methods.tki.method import TKIConfig
from crosslens.methods.tki.text_aggregation import Aggregation
from crosslens.training.batches import generator_for
from testing.domain_texts import synthetic
from testing.published_models import save_clip

SIZE = 32


def job_of(**settings):
    return Aggregation(TKIConfig(batch_size=SIZE, **settings), synthetic(words=10, names=8), 0)


def batch_of(job, epoch=0, step=0):
    """Descriptions ``(B, D)`` and classes ``(B,)`` of a step, from the numbers that draw it."""
    order = torch.randperm(job.pairs, generator=generator_for(0, epoch, -1))
    chosen = order[step * SIZE : (step + 1) * SIZE].tolist()
    pairs = [(number % job.train_words, number // job.train_words) for number in chosen]
    return torch.stack([job.u[word, job.names[n]] for word, n in pairs]), torch.tensor([n for _, n in pairs])


def distances_of(job, rows):
    return job.projection.distance(job.projection(rows), job._proxies())


def take_steps(job, count=1):
    job.start_epoch(0)
    for step in range(count):
        job.optimizer.zero_grad()
        job.step(0, step)["total"].backward()
        job.optimizer.step()


class TestAggregation:
    @pytest.mark.parametrize("proxies", ["text", "class"])
    @pytest.mark.parametrize("temperature", [0.2, 1.0])
    def test_proxy_nca_has_its_temperature_and_proxies(self, proxies, temperature):
        job = job_of(proxies=proxies, temperature=temperature)
        rows, index = batch_of(job)
        expected = proxy_nca(distances_of(job, rows), index, temperature)
        assert job.step(0, 0)["total"].item() == pytest.approx(expected.item(), rel=1e-6)

    def test_gradients_are_clipped(self):
        job = job_of(clip_gradient=1e-3)
        take_steps(job)
        gradients = [p.grad for group in job.optimizer.param_groups for p in group["params"]]
        length = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
        assert float(length) == pytest.approx(1e-3, rel=1e-3)

    def test_centring_takes_the_mean_of_all_texts_off(self):
        texts = synthetic(words=10, names=8)
        job = Aggregation(TKIConfig(centre=True), texts, 0)
        mean = sum(texts.texts[w, n] for w in range(10) for n in range(8)) / 80
        assert torch.allclose(job.u, F.normalize(texts.texts - mean, dim=2), atol=1e-6)
        assert torch.allclose(job.t, F.normalize(texts.classes - mean, dim=1), atol=1e-6)
        assert not torch.allclose(job.u, texts.texts, atol=1e-3)

    @pytest.mark.parametrize(
        ("settings", "kept"),
        [({}, 3), ({"ties": False}, 1), ({"keep_start": False}, 3), ({"ties": False, "keep_start": False}, 1)],
    )
    def test_an_equal_epoch_counts_only_with_ties(self, monkeypatch, settings, kept):
        scores = iter([0.5, 0.4, 0.7, 0.6, 0.7, 0.1])
        monkeypatch.setattr(Aggregation, "held_score", lambda self: next(scores))
        job = job_of(patience=2, stop_at=0, **settings)
        done = []
        for epoch in range(5):
            job.observe(epoch)
            done.append(job.is_done())
        assert job.best_epoch == kept
        assert done == [False, False, False, kept == 1, kept == 1]

    @pytest.mark.parametrize("keep_start", [True, False])
    def test_the_start_is_kept_only_if_wanted(self, monkeypatch, keep_start):
        scores = iter([0.9, 0.3, 0.4, 0.2])
        monkeypatch.setattr(Aggregation, "held_score", lambda self: next(scores))
        job = job_of(keep_start=keep_start)
        for epoch in range(3):
            job.observe(epoch)
        assert job.best_epoch == (-1 if keep_start else 1)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder, max_position_embeddings=24)
    return load_backbone(f"clip:{folder}")


NAMES = ("cat", "dog", "photo of dog")


def words_of(kind, backbone, count=5, **settings):
    config = WordsConfig(words=count, **{"words_per_step": 2, "classes_per_step": 0} | settings)
    prompts = word_prompts(backbone, [*(f"a X of a {name}" for name in NAMES), "a X of a"])
    drawn = torch.randn(count, prompts.width, generator=torch.Generator().manual_seed(0))
    return kind(config, prompts, drawn, backbone.embed_texts(list(NAMES)), 0)


def free(job, vectors):
    """Class-free features of words ``(B, D)``."""
    with torch.no_grad():
        return job.prompts.embed(vectors, torch.tensor([len(NAMES)]))[:, 0]


def slow_consistency(job, vectors, temperature):
    with torch.no_grad():
        texts = job.prompts.embed(vectors, torch.arange(len(NAMES)))
        scores = texts @ job.classes.t() / temperature
    own = [scores[w, n, n] - scores[w, n].logsumexp(0) for w in range(len(vectors)) for n in range(len(NAMES))]
    return float(-sum(own) / len(own))


class TestWords:
    @pytest.mark.parametrize("gram", ["bank", "full"])
    def test_joint_words_differ_from_all_others_but_themselves(self, backbone, gram):
        job = words_of(JointWords, backbone, gram=gram)
        chosen = torch.randperm(5, generator=generator_for(0, 0, -1))[:2].tolist()
        losses = job.step(0, 0)
        features = free(job, job.vectors)
        learning = chosen if gram == "bank" else range(5)
        pairs = [abs(float(features[k] @ features[m])) for k in learning for m in range(5) if k != m]
        assert float(losses["diversity"].detach()) == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
        losses["diversity"].backward()
        touched = job.vectors.grad.abs().sum(1).gt(0).nonzero().flatten().tolist()
        assert touched == sorted(learning)

    def test_the_full_gram_is_never_stale(self, backbone):
        found = {}
        for gram in ("bank", "full"):
            job = words_of(JointWords, backbone, gram=gram)
            with torch.no_grad():
                job.vectors += torch.linspace(0, 1, job.vectors.shape[1])
            features = free(job, job.vectors)
            cosines = (features @ features.t()).abs().fill_diagonal_(0)
            found[gram] = abs(float(job.step(0, 0)["diversity"].detach()) - float(cosines.sum() / 20))
        assert found["full"] < 1e-6 < found["bank"]

    @pytest.mark.parametrize("kind", [JointWords, SequentialWords])
    @pytest.mark.parametrize("temperature", [1.0, 0.05])
    def test_consistency_has_its_temperature_and_both_losses_their_weights(self, backbone, kind, temperature):
        weights = {"diversity_weight": 0.25, "consistency_weight": 3.0}
        job = words_of(kind, backbone, consistency_temperature=temperature, **weights)
        number = 0
        if kind is SequentialWords:
            job.start_epoch(0)
            job.start_epoch(1)
            number = 1
        losses = {key: float(value.detach()) for key, value in job.step(number, 0).items()}
        if kind is JointWords:
            vectors = job.vectors[torch.randperm(5, generator=generator_for(0, 0, -1))[:2]]
        else:
            vectors = job.vector
        assert losses["consistency"] == pytest.approx(slow_consistency(job, vectors, temperature), rel=1e-4)
        total = 0.25 * losses["diversity"] + 3.0 * losses["consistency"]
        assert losses["total"] == pytest.approx(total, rel=1e-5)
        assert losses["diversity"] > 1e-3

    def test_a_sequential_word_differs_from_those_before_it(self, backbone):
        job = words_of(SequentialWords, backbone)
        job.start_epoch(0)
        assert job.step(0, 0)["diversity"].item() == 0
        for number in (1, 2):
            job.start_epoch(number)
        before, own = free(job, job.words[:2]), free(job, job.vector)[0]
        expected = sum(abs(float(own @ row)) for row in before) / 2
        assert float(job.step(2, 0)["diversity"].detach()) == pytest.approx(expected, rel=1e-5)

    def test_a_sequential_word_moves_by_sgd_with_momentum_and_the_next_one_starts_anew(self, backbone):
        job = words_of(SequentialWords, backbone, word_lr=0.05)
        expected, velocity = job.words[0].clone(), torch.zeros(job.prompts.width)
        job.start_epoch(0)
        for step in range(3):
            losses = job.step(0, step)
            (gradient,) = torch.autograd.grad(losses["total"], job.vector, retain_graph=True)
            velocity = 0.9 * velocity + gradient[0]
            expected = expected - 0.05 * velocity
            job.optimizer.zero_grad()
            losses["total"].backward()
            job.optimizer.step()
        assert torch.allclose(job.vector[0], expected, atol=1e-6)
        job.start_epoch(1)
        assert not job.optimizer.state
        assert words_of(SequentialWords, backbone).optimizer.param_groups[0]["lr"] == 0.002

    def test_several_templates_give_their_mean(self, backbone):
        templates = ("a X of a {class}", "a {class} in a X")
        config = WordsConfig(words=3, learn="random", template=templates)
        found, _ = expand(config, backbone, NAMES, seed=0)
        alone = [expand(config.model_copy(update={"template": t}), backbone, NAMES, seed=0)[0] for t in templates]
        mean = F.normalize(alone[0].texts + alone[1].texts, dim=2)
        assert torch.allclose(found.texts, mean, atol=1e-5)
        assert not torch.allclose(found.texts, alone[0].texts, atol=1e-3)
        assert torch.allclose(found.domains, F.normalize(alone[0].domains + alone[1].domains, dim=1), atol=1e-5)
        one = word_prompts(backbone, ["a X of a cat"])
        assert MeanPrompts.of([one]) is one
