"""TKI end to end on a tiny CLIP with random weights: no image, exact resume, controls, warnings, bad input."""

import json
import re

import numpy as np
import pytest
import torch

import crosslens
from crosslens.backbones import load_backbone
from crosslens.backbones.prompts import word_prompts
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, ProjectionHead
from crosslens.methods.base import make_config
from crosslens.methods.tki.domain_words import WordsConfig, domain_prompt, expand
from crosslens.methods.tki.method import TKI
from crosslens.methods.tki.text_aggregation import Aggregation
from crosslens.recipes import read_recipe
from crosslens.support.errors import BackboneError, ConfigError, RunError, TrainingError
from crosslens.training.schedules import cosine
from testing.published_models import save_clip
from testing.tiny_backbone import TinyBackbone

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
    options = {
        key: settings.pop(key) for key in ("source", "seed", "resume", "domains", "unseen") if key in settings
    }
    return crosslens.fit("tki", out=out, backbone=backbone, classes=names, settings=QUICK | settings, **options)


def vectors(run, count=7):
    encoder = crosslens.load_encoder(run.folder)
    return encoder.encode_features(torch.randn(count, 8, generator=torch.Generator().manual_seed(0)))


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


@pytest.mark.parametrize(
    "settings",
    [
        {"radius_out": 2.0},
        {"radius_out": None},
        {"radius_out": None, "curvature": 0.01},
        {"radius_out": 100.0, "curvature": 1e-4, "geometry": "euclid_exp"},
        {"curvature": 10.0},
        {"radius_out": None, "curvature": 1.0, "start": "random", "lr": 0.05},
    ],
)
def test_ranking_through_evaluation_and_index_is_by_geodesic_distance(clip, pictures, tmp_path, settings):
    run = fit(tmp_path / "run", clip, learn="random", **settings)
    encoder = crosslens.load_encoder(run.folder)
    catalog = crosslens.Catalog.open(pictures)
    index, _ = crosslens.Index.build(catalog.select(domains="photo"), encoder, tmp_path / "index")
    index = crosslens.Index.open(tmp_path / "index")
    queries = encoder.encode_images(catalog.select(domains="sketch").paths[:6])
    hits = index.search(queries, 48)
    from crosslens.features.load import features_of

    projection = encoder.part(ProjectionHead).projection

    def points(domain):
        found = features_of(catalog.select(domains=domain), encoder.backbone)
        z = projection.double()(encoder.backbone.to_joint(torch.from_numpy(found.centre)).double())
        return z, found.catalog.ids

    with torch.no_grad():
        (q, _), (g, ids) = points("sketch"), points("photo")
        distances = projection.distance(q[:6], g).numpy()
    place = {image: position for position, image in enumerate(ids)}
    for row, found in enumerate(hits):
        ranked = distances[row, [place[hit.id] for hit in found]]
        assert (np.diff(ranked) > -1e-5 * ranked[-1]).all()
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
def test_a_fit_killed_at_any_step_resumes_to_the_same_bits(clip, tmp_path, killed_after, learn, stop_after):
    whole = fit(tmp_path / "whole", clip, learn=learn)
    from crosslens.methods.tki import domain_words, text_aggregation

    kinds = (domain_words.JointWords, domain_words.SequentialWords, text_aggregation.Aggregation)
    with killed_after(stop_after, *kinds, modules=(domain_words.__name__, text_aggregation.__name__)):
        fit(tmp_path / "broken", clip, learn=learn)
    resumed = fit(tmp_path / "broken", clip, learn=learn, resume=True)
    assert np.array_equal(vectors(whole), vectors(resumed))


@pytest.mark.parametrize("settings", [{"proxies": "class"}, {"geometry": "euclid"}])
def test_variants_resume_too(clip, tmp_path, killed_after, settings):
    settings = settings | {"learn": "random"}
    whole = fit(tmp_path / "whole", clip, **settings)
    with killed_after(4, Aggregation, modules=(Aggregation.__module__,)):
        fit(tmp_path / "broken", clip, **settings)
    assert np.array_equal(vectors(whole), vectors(fit(tmp_path / "broken", clip, resume=True, **settings)))


def test_same_seed_same_encoder_other_seed_another(clip, tmp_path):
    first, again, other = (fit(tmp_path / n, clip, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert np.array_equal(vectors(first), vectors(again))
    assert not np.allclose(vectors(first), vectors(other))


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
    prompts = word_prompts(load_backbone(clip), [*(f"a X of a {n.replace('_', ' ')}" for n in NAMES), "a X of a"])
    assert about["tokenizer"].startswith("tokenizers ")
    assert about["tokenizer"].endswith(prompts.tokens[:16])
    other = word_prompts(load_backbone(clip), ["a X of a cat"])
    assert other.tokens != prompts.tokens
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
    assert set(encoder.part(Centre).means) == {"photo", "sketch"}
    assert not encoder.has_text
    result = crosslens.evaluate(run.folder)
    assert result.metrics["map@all"] > 0.2
    assert any("transductive gallery mean" in mark for mark in result.marks)
    card = (run.encoder_folder / "README.md").read_text()
    assert "transductive gallery mean" in card
    assert "without images" not in card
    assert "unlabelled images" in card
    with pytest.raises(ConfigError, match="name the images: fit tki ROOT"):
        fit(tmp_path / "other", clip, centre=True)


def test_a_run_on_names_alone_has_no_such_mark(clip, pictures, tmp_path):
    run = fit(tmp_path / "run", clip, learn="random")
    assert "marks" not in run.config()
    assert not any("transductive" in mark for mark in crosslens.evaluate(run.folder, pictures).marks)
    card = (run.encoder_folder / "README.md").read_text()
    assert "from class names alone, without images" in card
    assert "Marked" not in card


def test_names_of_unseen_classes_stay_out_unless_the_vocabulary_is_all(clip, pictures, tmp_path):
    names = ("circle", "square", "triangle", "cat")
    options = {"learn": "random", "source": pictures, "unseen": ["square"]}
    seen = fit(tmp_path / "seen", clip, names, **options)
    whole = fit(tmp_path / "all", clip, names, class_vocabulary="all", **options)
    assert seen.config()["classes"] == ["circle", "triangle", "cat"]
    assert whole.config()["classes"] == list(names)
    assert "marks" not in seen.config()
    assert any("names of unseen classes" in mark for mark in crosslens.evaluate(whole.folder).marks)
    assert "names of unseen classes" in (whole.encoder_folder / "README.md").read_text()


def test_the_recipe_of_the_first_proposal_is_read_and_runs(clip, tmp_path):
    content = read_recipe("tki-spec")
    config = make_config(TKI.Config, content["settings"], "tki")
    # Every setting that the method has is named, but for hand-written words.
    assert set(content["settings"]) == set(TKI.Config.model_fields) - {"given"}
    assert (config.learn, config.start, config.proxies, config.stop_at) == ("sequential", "identity", "class", 0)
    small = {"words": 3, "iterations": 2, "template": TEMPLATE, "epochs": 3, "batch_size": 8}
    for name, extra in (("one", {}), ("joint", {"learn": "joint", "steps": 3, "word_lr": 1e-3})):
        run = crosslens.fit(
            "tki",
            out=tmp_path / name,
            backbone=clip,
            classes=NAMES,
            recipe="tki-spec",
            settings=small | extra,
        )
        assert np.isfinite(vectors(run)).all()
        rates = {(entry["name"], entry["lr"]) for entry in run.read_log()}
        assert rates == {("last", 1e-3), ("words", 0.002 if name == "one" else 1e-3)}


def test_learning_rates_fall_by_a_cosine_by_default(clip, tmp_path):
    log = fit(tmp_path / "run", clip, stop_at=0, patience=0).read_log()
    for name, base in (("words", 5e-3), ("last", 1e-3)):
        rates = [entry["lr"] for entry in log if entry["name"] == name]
        assert rates == pytest.approx([base * cosine(epoch, len(rates)) for epoch in range(len(rates))])


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
        assert any("lie at the edge of the ball" in w and "radius_out=1)" in w for w in warnings)
        assert any("enters the ball at its edge" in w and "lower --set scale" in w for w in warnings)
        assert "edge of the ball" in " ".join(capsys.readouterr().err.split())
        assert run.read_log()[-1]["at_edge"] > 0.05
        # The default radius keeps texts away from it.
        calm = fit(tmp_path / "calm", clip, learn="random")
        assert calm.read_log()[-1]["at_edge"] == 0

    def test_the_remedy_helps_where_the_default_radius_is_beyond_the_edge(self, clip, tmp_path):
        settings = {"learn": "random", "curvature": 10.0}
        run = fit(tmp_path / "run", clip, **settings)
        found = [w for w in crosslens.load_encoder(run.folder).trained["texts"]["warnings"] if "radius_out" in w]
        (value,) = re.findall(r"--set radius_out=([\d.]+)\)", found[0])
        calm = fit(tmp_path / "calm", clip, **settings, radius_out=float(value))
        assert calm.read_log()[-1]["at_edge"] == 0
        left = crosslens.load_encoder(calm.folder).trained["texts"].get("warnings", [])
        assert not any("radius_out" in warning for warning in left)


class TestBadInput:
    def test_no_names_and_one_name(self, clip, tmp_path):
        with pytest.raises(ConfigError, match="--classes FILE"):
            crosslens.fit("tki", out=tmp_path / "run", backbone=clip)
        with pytest.raises(ConfigError, match="at least two class names, not 1"):
            fit(tmp_path / "run", clip, ("cat",))

    def test_names_that_tokenise_to_nothing(self, clip, tmp_path):
        with pytest.raises(ConfigError, match=r"reads no word in the class name\(s\) '__'; write them"):
            fit(tmp_path / "run", clip, ("cat", "__"))
        with pytest.raises(ConfigError, match=r"reads no word in the given word\(s\) ''; write them"):
            fit(tmp_path / "given", clip, given=[""])

    def test_names_that_are_one_when_cleaned(self, clip, tmp_path):
        with pytest.raises(ConfigError, match="'photo of' and 'Photo_of' are the same words"):
            fit(tmp_path / "run", clip, ("photo of", "cat", "Photo_of"))

    def test_a_name_with_a_tab_beside_the_hole(self, clip, tmp_path):
        run = fit(tmp_path / "run", clip, ("X\tphoto", "cat"), learn="random")
        plain = fit(tmp_path / "plain", clip, ("X photo", "cat"), learn="random")
        assert np.array_equal(vectors(run), vectors(plain))

    def test_a_temperature_must_be_positive(self, clip, tmp_path):
        for temperature in (-1, 0):
            with pytest.raises(ConfigError, match="temperature"):
                fit(tmp_path / "run", clip, temperature=temperature)

    @pytest.mark.parametrize(("key", "settings"), [("lr", {"learn": "random"}), ("word_lr", {})])
    def test_a_learning_rate_beyond_floats_names_its_own_setting(self, clip, tmp_path, key, settings):
        with pytest.raises(TrainingError, match=rf"lower it \(--set {key}="):
            fit(tmp_path / "run", clip, **settings, **{key: 1e38})

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

    @pytest.mark.parametrize(("stage", "key"), [("losses", "word_lr"), ("_loss", "lr")])
    def test_a_loss_that_is_not_finite_stops_with_the_state_kept(self, clip, tmp_path, monkeypatch, stage, key):
        from crosslens.methods.tki import domain_words

        if stage == "losses":
            nothing = {"total": torch.tensor(float("nan"), requires_grad=True)}
            monkeypatch.setattr(domain_words.JointWords, "losses", lambda *a: nothing)
        else:
            monkeypatch.setattr(Aggregation, "_loss", lambda self, z, index: z.sum() * float("inf"))
        with pytest.raises(TrainingError, match=rf"not finite at epoch 0, step 0.*--set {key}="):
            fit(tmp_path / "run", clip)
        assert (tmp_path / "run" / "checkpoints" / "failed.pt").is_file()

    def test_other_methods_still_need_images(self, tiny_world, tmp_path):
        with pytest.raises(ConfigError, match="ucdir learns from images; name them"):
            crosslens.fit("ucdir", out=tmp_path / "run", backbone="tiny")
        with pytest.raises(ConfigError, match="tki learns from images; name them"):
            crosslens.fit("tki", out=tmp_path / "run", classes=["a", "b"], domains=["photo"])

    def test_a_run_without_images_must_be_given_some_to_measure(self, clip, tmp_path):
        run = fit(tmp_path / "run", clip, learn="random")
        with pytest.raises(RunError, match="began without images; give some"):
            crosslens.evaluate(run.folder)

    def test_damaged_words(self, clip, tmp_path):
        run = fit(tmp_path / "run", clip, learn="random")
        (run.encoder_folder / "config.json").unlink()
        (run.folder / "words.safetensors").write_bytes(b"nothing")
        with pytest.raises(RunError, match="delete it to make the texts again"):
            fit(tmp_path / "run", clip, learn="random", resume=True)
