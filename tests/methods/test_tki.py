"""TKI end to end on a tiny CLIP with random weights: no image, exact resume, controls, warnings, bad input."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import crosslens
from backbones.tiny_models import save_clip
from crosslens.backbones import load_backbone
from crosslens.encoder import Encoder
from crosslens.errors import BackboneError, ConfigError, RunError, TrainingError
from crosslens.methods.domain_words import DomainTexts, WordsConfig, domain_prompt, expand
from crosslens.methods.tki import TKI, Aggregation, TKIConfig
from crosslens.training import loop
from tiny import TinyBackbone

NAMES = ("cat", "dog", "photo of dog", "cat of photo", "gold_fish")
TEMPLATE = "a X of a {class}"
QUICK = {
    "words": 6,
    "steps": 8,
    "iterations": 4,
    "words_per_step": 3,
    "classes_per_step": 2,
    "template": TEMPLATE,
    "epochs": 3,
    "batch_size": 8,
}


@pytest.fixture
def clip(tmp_path):
    save_clip(tmp_path / "clip", max_position_embeddings=24)
    return f"clip:{tmp_path / 'clip'}"


def fit(out, backbone, names=NAMES, **settings):
    options = {key: settings.pop(key) for key in ("source", "seed", "resume", "domains") if key in settings}
    return crosslens.fit("tki", out=out, backbone=backbone, classes=names, settings=QUICK | settings, **options)


def vectors(run, count=7):
    encoder = crosslens.load_encoder(run.folder)
    return encoder.encode_features(torch.randn(count, 8, generator=torch.Generator().manual_seed(0)))


def synthetic(words=20, names=30, dim=24, domains=6, seed=0):
    """Texts that are a class plus a domain, the domains in a subspace of their own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    classes, looks = draw(names, dim), draw(words, domains) @ draw(domains, dim) / domains**0.5
    u = F.normalize(classes[None] + 1.5 * looks[:, None] + 0.1 * draw(words, names, dim), dim=2)
    t = F.normalize(classes, dim=1)
    return DomainTexts(draw(words, 4), F.normalize(looks, dim=1), u, t, torch.ones(words))


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


@pytest.mark.parametrize("learn", ["joint", "sequential", "random"])
def test_it_learns_from_names_alone_and_serves_images_and_texts(clip, pictures, tmp_path, learn):
    run = fit(tmp_path / "run", clip, learn=learn)
    assert "source" not in run.config()
    assert run.config()["classes"] == list(NAMES)
    encoder = crosslens.load_encoder(run.folder)
    assert encoder.dim == 8 + 3
    result = crosslens.evaluate(run.folder, pictures)
    assert {(d.query_domain, d.gallery_domain) for d in result.directions} == {
        ("photo", "sketch"),
        ("sketch", "photo"),
    }
    assert encoder.has_text
    texts = encoder.encode_texts(["cat", "dog"])
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    log = run.read_log()
    assert {entry["name"] for entry in log} == ({"last"} if learn == "random" else {"words", "last"})
    card = (run.encoder_folder / "README.md").read_text()
    assert "reconstruction" in card
    assert "gold_fish" in card


def test_ranking_through_evaluation_and_index_is_by_geodesic_distance(clip, pictures, tmp_path):
    run = fit(tmp_path / "run", clip, learn="random", radius_out=2.0)
    encoder = crosslens.load_encoder(run.folder)
    catalog = crosslens.Catalog.open(pictures)
    index, _ = crosslens.Index.build(catalog.select(domains="photo"), encoder, tmp_path / "index")
    index = crosslens.Index.open(tmp_path / "index")
    queries = encoder.encode_images(catalog.select(domains="sketch").paths[:6])
    hits = index.search(queries, 48)
    from crosslens.features.load import features_of

    def points(domain):
        found = features_of(catalog.select(domains=domain), encoder.backbone)
        z = encoder.head.double()(encoder.backbone.to_joint(torch.from_numpy(found.centre)).double())
        return z, found.catalog.ids

    with torch.no_grad():
        (q, _), (g, ids) = points("sketch"), points("photo")
        distances = encoder.head.distance(q[:6], g).numpy()
    place = {image: position for position, image in enumerate(ids)}
    for row, found in enumerate(hits):
        ranked = distances[row, [place[hit.id] for hit in found]]
        assert (np.diff(ranked) > -1e-4).all()
        scores = [hit.score for hit in found]
        assert scores == sorted(scores, reverse=True)
        assert -1.0001 <= scores[-1] <= scores[0] <= 1.0001


@pytest.mark.parametrize("geometry", ["mobius", "hnnpp", "euclid_exp", "euclid"])
def test_encoder_folders_round_trip_in_every_geometry(clip, tmp_path, geometry):
    run = fit(tmp_path / "run", clip, learn="random", geometry=geometry)
    encoder = crosslens.load_encoder(run.folder)
    encoder.save(tmp_path / "copy")
    again = Encoder.load(tmp_path / "copy")
    assert again.fingerprint == encoder.fingerprint
    assert again.similarity == encoder.similarity
    rows = torch.randn(4, 8)
    assert np.array_equal(again.encode_features(rows), encoder.encode_features(rows))


@pytest.mark.parametrize("learn", ["joint", "sequential"])
@pytest.mark.parametrize("stop_after", [1, 6, 9, 13])
def test_a_fit_killed_at_any_step_resumes_to_the_same_bits(clip, tmp_path, monkeypatch, learn, stop_after):
    whole = fit(tmp_path / "whole", clip, learn=learn)
    from crosslens.methods import domain_words, tki

    kinds = (domain_words.JointWords, domain_words.SequentialWords, tki.Aggregation)
    originals, calls = {kind: kind.step for kind in kinds}, []

    def dying(kind):
        def step(self, epoch, number):
            calls.append(number)
            if len(calls) > stop_after:
                raise KeyboardInterrupt
            return originals[kind](self, epoch, number)

        return step

    for module in (domain_words, tki):
        monkeypatch.setattr(module, "train", lambda *a, **k: loop.train(*a, **k | {"checkpoint_seconds": 0}))
    for kind in kinds:
        monkeypatch.setattr(kind, "step", dying(kind))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken", clip, learn=learn)
    for kind in kinds:
        monkeypatch.setattr(kind, "step", originals[kind])
    resumed = fit(tmp_path / "broken", clip, learn=learn, resume=True)
    assert np.array_equal(vectors(whole), vectors(resumed))


@pytest.mark.parametrize("settings", [{"proxies": "learned", "loss": "proxy_anchor"}, {"proxies": "domain_mean"}])
def test_variants_resume_too(clip, tmp_path, monkeypatch, settings):
    settings = settings | {"learn": "random", "noise": 0.5, "relation": 0.5}
    whole = fit(tmp_path / "whole", clip, **settings)
    original, calls = Aggregation.step, []

    def dying(self, epoch, step):
        calls.append(step)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(self, epoch, step)

    monkeypatch.setattr(
        "crosslens.methods.tki.train", lambda *a, **k: loop.train(*a, **k | {"checkpoint_seconds": 0})
    )
    monkeypatch.setattr(Aggregation, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken", clip, **settings)
    monkeypatch.setattr(Aggregation, "step", original)
    assert np.array_equal(vectors(whole), vectors(fit(tmp_path / "broken", clip, resume=True, **settings)))


def test_same_seed_same_encoder_other_seed_another(clip, tmp_path):
    first, again, other = (fit(tmp_path / n, clip, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert np.array_equal(vectors(first), vectors(again))
    assert not np.allclose(vectors(first), vectors(other))


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
        {"loss": "proxy_anchor"},
        {"loss": "arcface"},
        {"proxies": "class"},
        {"proxies": "learned"},
        {"proxies": "domain_mean"},
        {"margin": 0.3},
        {"noise": 0.5},
        {"relation": 1.0},
        {"slope": 1.0},
        {"proxies": "domain_mean", "geometry": "euclid"},
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
    job = Aggregation(TKIConfig(hold_out=0.1, patience=2), texts, 0)
    assert (job.train_words, job.held_words, len(job.names), len(job.held_names)) == (9, 1, 36, 4)
    assert sorted(torch.cat([job.names, job.held_names]).tolist()) == list(range(40))
    scores = iter([0.5, 0.7, 0.7, 0.6, 0.6])
    monkeypatch.setattr(job, "held_score", lambda: next(scores))
    kept = []
    for epoch in range(5):
        with torch.no_grad():
            job.projection.layers[0].bias.fill_(float(epoch))
        job.observe(epoch)
        kept.append((job.best_epoch, job.is_done()))
    assert kept == [(0, False), (1, False), (2, False), (2, False), (2, True)]
    assert job.finish().layers[0].bias[0].item() == 2.0
    few = Aggregation(TKIConfig(), synthetic(words=10, names=7), 0)
    assert len(few.names) == 7


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


def test_consistency_and_diversity_do_what_they_say(clip, tmp_path):
    backbone = load_backbone(clip)
    from crosslens.training.run import Run

    def learn(**settings):
        config = WordsConfig(words=6, template=TEMPLATE, steps=120, words_per_step=6, word_std=0.5, **settings)
        folder = tmp_path / "-".join(map(str, settings.values()))
        folder.mkdir()
        return expand(config, backbone, NAMES, seed=0, run=Run(folder))

    apart, facts = learn(consistency_weight=0.0, word_lr=0.1)
    assert facts["spread"] < facts["spread_before"]
    kept, facts = learn(diversity_weight=0.0, consistency_temperature=0.05, word_lr=0.05)
    assert facts["kept"] >= facts["kept_before"]
    assert float(kept.kept.mean()) >= float(apart.kept.mean())


def test_the_expansion_is_saved_with_what_it_was_made_from(clip, tmp_path):
    from safetensors import safe_open

    run = fit(tmp_path / "run", clip)
    with safe_open(run.folder / "words.safetensors", "pt") as stored:
        assert stored.get_slice("texts").get_shape() == [6, 5, 8]
        about = stored.metadata()
    assert about["template"] == TEMPLATE
    assert json.loads(about["classes"]) == list(NAMES)
    assert json.loads(about["facts"])["words"] == 6


def test_given_words_take_the_place_of_learned_ones(clip, tmp_path):
    run = fit(tmp_path / "run", clip, given=["photo", "dog"])
    facts = crosslens.load_encoder(run.folder).trained["texts"]
    assert facts["words"] == 2
    assert {entry["name"] for entry in run.read_log()} == {"last"}


def test_a_class_called_like_the_hole_is_read(clip, tmp_path):
    run = fit(tmp_path / "run", clip, ("X of photo", "cat", "X"), learn="random")
    assert crosslens.load_encoder(run.folder).trained["classes"] == ["X of photo", "cat", "X"]


def test_the_class_free_prompt():
    assert domain_prompt("a X style of a {class}") == "a X style of a"
    assert domain_prompt("a {class} in a X style") == "in a X style"


def test_centring_needs_images_and_keeps_their_means(clip, pictures, tmp_path):
    run = fit(tmp_path / "run", clip, learn="random", centre=True, source=pictures)
    encoder = crosslens.load_encoder(run.folder)
    assert set(encoder.means) == {"photo", "sketch"}
    assert not encoder.has_text
    assert crosslens.evaluate(run.folder).metrics["map@all"] > 0.2
    with pytest.raises(ConfigError, match="name the images: fit tki ROOT"):
        fit(tmp_path / "other", clip, centre=True)


def test_given_images_are_not_looked_at(clip, pictures, tmp_path, monkeypatch):
    without = fit(tmp_path / "a", clip)
    monkeypatch.setattr(TKI, "features_by_domain", None, raising=False)
    monkeypatch.setattr("crosslens.methods.base.features_of", lambda *a, **k: pytest.fail("images were read"))
    named = fit(tmp_path / "b", clip, source=pictures)
    assert np.array_equal(vectors(without), vectors(named))
    assert named.config()["domains"] == ["photo", "sketch"]


class TestWarnings:
    def test_texts_at_the_edge_of_the_ball_are_warned_of_with_the_remedy(self, clip, tmp_path, capsys):
        settings = {"learn": "random", "radius_out": None, "radius_in": None, "curvature": 1.0, "scale": 8.0}
        settings |= {"temperature": 0.1, "lr": 0.2, "epochs": 12, "patience": 0}
        run = fit(tmp_path / "run", clip, NAMES[:3], **settings)
        warnings = crosslens.load_encoder(run.folder).trained["texts"]["warnings"]
        assert any("lie at the edge of the ball" in w and "radius_out=1" in w for w in warnings)
        assert any("enters the ball at its edge" in w and "lower --set scale" in w for w in warnings)
        assert "edge of the ball" in " ".join(capsys.readouterr().err.split())
        assert run.read_log()[-1]["at_edge"] > 0.05
        # The default radius keeps texts away from it.
        calm = fit(tmp_path / "calm", clip, learn="random")
        assert calm.read_log()[-1]["at_edge"] == 0

    def test_a_loss_that_begins_near_zero_is_warned_of(self):
        texts = synthetic()
        same = texts.classes[None].expand(len(texts.words), -1, -1).contiguous()
        job = Aggregation(TKIConfig(temperature=0.01), DomainTexts(**vars(texts) | {"texts": same}), 0)
        job.observe(0)
        assert any("raise the temperature" in warning for warning in job.warnings())


class TestBadInput:
    def test_no_names_and_one_name(self, clip, tmp_path):
        with pytest.raises(ConfigError, match="--classes FILE"):
            crosslens.fit("tki", out=tmp_path / "run", backbone=clip)
        with pytest.raises(ConfigError, match="at least two class names, not 1"):
            fit(tmp_path / "run", clip, ("cat",))

    def test_names_that_tokenise_to_nothing(self, clip, tmp_path):
        with pytest.raises(ConfigError, match=r"reads no word in the class name\(s\) '  '; write them"):
            fit(tmp_path / "run", clip, ("cat", "__"))

    def test_a_template_without_its_places(self, clip, tmp_path):
        for template in ("a style of a {class}", "a X style", "X X {class}"):
            with pytest.raises(ConfigError, match="template needs the word X and"):
                fit(tmp_path / template, clip, template=template)

    def test_a_name_longer_than_the_context(self, clip, tmp_path):
        with pytest.raises(ConfigError, match="shorten the name"):
            fit(tmp_path / "run", clip, ("cat", "dog " * 30))

    def test_backbones_without_text(self, tiny_world, tmp_path):
        with pytest.raises(BackboneError, match="no text tower"):
            fit(tmp_path / "run", "tiny")
        assert not TinyBackbone().has_text

    @pytest.mark.parametrize("stage", ["losses", "_loss"])
    def test_a_loss_that_is_not_finite_stops_with_the_state_kept(self, clip, tmp_path, monkeypatch, stage):
        from crosslens.methods import domain_words

        if stage == "losses":
            nothing = {"total": torch.tensor(float("nan"), requires_grad=True)}
            monkeypatch.setattr(domain_words.JointWords, "losses", lambda *a: nothing)
        else:
            monkeypatch.setattr(Aggregation, "_loss", lambda self, z, index: z.sum() * float("inf"))
        with pytest.raises(TrainingError, match="not finite at epoch 0, step 0"):
            fit(tmp_path / "run", clip)
        assert (tmp_path / "run" / "checkpoints" / "failed.pt").is_file()

    def test_other_methods_still_need_images(self, tiny_world, tmp_path):
        with pytest.raises(ConfigError, match="ucdir learns from images; name them"):
            crosslens.fit("ucdir", out=tmp_path / "run", backbone="tiny")
        with pytest.raises(ConfigError, match="tki learns from images; name them"):
            crosslens.fit("tki", out=tmp_path / "run", classes=["a", "b"], domains=["photo"])

    def test_a_run_without_images_must_be_given_some_to_measure(self, clip, tmp_path):
        run = fit(tmp_path / "run", clip, learn="random")
        with pytest.raises(RunError, match="does not say which images"):
            crosslens.evaluate(run.folder)

    def test_damaged_words(self, clip, tmp_path):
        run = fit(tmp_path / "run", clip, learn="random")
        (run.encoder_folder / "config.json").unlink()
        (run.folder / "words.safetensors").write_bytes(b"nothing")
        with pytest.raises(RunError, match="delete it to make the texts again"):
            fit(tmp_path / "run", clip, learn="random", resume=True)
