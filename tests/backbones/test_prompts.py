"""Word vectors in prompts: the whole tower's result, gradients to the word alone, holes that are found."""

import pytest
import torch
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.prompts import CausalPrompts, find_holes, put_words, word_prompts
from crosslens.support.errors import BackboneError, ConfigError
from testing.published_models import save_clip, save_siglip
from testing.tiny_backbone import TinyBackbone

TEXTS = ("a X of a cat", "a X of a photo of a dog", "a X of a")


@pytest.fixture
def clip(tmp_path):
    save_clip(tmp_path / "clip", max_position_embeddings=24, num_hidden_layers=3)
    return load_backbone(f"clip:{tmp_path / 'clip'}")


def whole_tower(backbone, texts, words):
    """The slow way: the tower itself, padded, with a hook that puts the word in."""
    numbers = backbone.token_numbers([text.replace("X", "x") for text in texts])
    alone = int(backbone.token_numbers(["x"])[0, 1])
    rows = []
    for word in words:

        def put(module, inputs, output, word=word):
            return torch.where((inputs[0] == alone)[..., None], word, output)

        hook = backbone.text_tower.text.embeddings.token_embedding.register_forward_hook(put)
        rows.append(F.normalize(backbone.text_tower(numbers), dim=1))
        hook.remove()
    return torch.stack(rows)


@pytest.mark.parametrize("texts", [TEXTS, ("a cat of X photo", "a photo of a dog of X a", "X"), TEXTS[:1]])
def test_cut_and_shared_context_equal_the_whole_tower(clip, texts):
    torch.manual_seed(0)
    prompts = word_prompts(clip, texts)
    assert isinstance(prompts, CausalPrompts)
    words = torch.randn(4, prompts.width)
    found = prompts.embed(words, torch.arange(len(texts)))
    assert torch.allclose(found, whole_tower(clip, texts, words), atol=1e-6)
    some = prompts.embed(words[1:3], torch.tensor([len(texts) - 1]))
    assert torch.allclose(some, found[1:3, -1:], atol=1e-6)


def test_the_shared_beginning_ends_before_the_first_difference_and_holds_the_hole(clip):
    assert word_prompts(clip, TEXTS)._shared == 5  # start, a, X, of, a
    assert word_prompts(clip, ("a cat of X", "a dog of X"))._shared == 2
    assert word_prompts(clip, ("X",))._shared == 2


def test_a_words_own_vector_gives_the_plain_text(clip):
    prompts = word_prompts(clip, TEXTS)
    found = prompts.embed(prompts.word_vector("photo")[None], torch.arange(3))[0]
    plain = clip.embed_texts([text.replace("X", "photo") for text in TEXTS])
    assert torch.allclose(found, plain, atol=1e-6)


def test_gradients_reach_the_word_and_nothing_else(clip):
    prompts = word_prompts(clip, TEXTS)
    words = torch.zeros(2, prompts.width, requires_grad=True)
    prompts.embed(words, torch.arange(3))[..., 0].sum().backward()
    assert (words.grad.norm(dim=1) > 0).all()
    assert all(parameter.grad is None for parameter in clip.text_tower.parameters())


def test_words_are_put_where_the_holes_are():
    inputs = torch.zeros(1, 2, 4, 3).expand(2, -1, -1, -1)
    filled = put_words(inputs, torch.tensor([[1.0] * 3, [2.0] * 3]), torch.tensor([[1], [3]]))
    assert filled[0, 0].sum(1).tolist() == [0, 3, 0, 0]
    assert filled[1, 1].sum(1).tolist() == [0, 0, 0, 6]


def test_a_class_that_holds_the_stand_in_does_not_move_the_hole(clip):
    prompts = word_prompts(clip, ("a X of a x", "a X of a q"))
    assert prompts._holes.tolist() == [[2], [2]]


def test_several_words_stand_where_their_own_words_stood(clip):
    """A context of the tower's own word vectors gives the plain text, each vector in its place."""
    prompts = word_prompts(clip, ("X X X cat", "X X X photo of dog"), holes=3)
    words = torch.stack([prompts.word_vector(word) for word in ("a", "photo", "of")])
    found = prompts.embed(torch.stack([words, words.flip(0)]), torch.arange(2))
    for row, context in zip(found, ("a photo of", "of photo a"), strict=True):
        plain = clip.embed_texts([f"{context} cat", f"{context} photo of dog"])
        assert torch.allclose(row, plain, atol=1e-6)
    with pytest.raises(ConfigError, match="needs the word X 3 times"):
        word_prompts(clip, ("X X cat",), holes=3)


def test_the_context_is_no_longer_than_the_longest_prompt(clip):
    prompts = word_prompts(clip, TEXTS)
    assert prompts.lengths.tolist() == [7, 10, 6]
    assert prompts._ids.shape == (3, 10)


class TestBadInput:
    def test_no_hole_and_two_holes(self, clip):
        for text in ("a photo of a cat", "X X", "aXb"):
            with pytest.raises(ConfigError, match="needs the word X once"):
                word_prompts(clip, (text,))

    def test_a_hole_of_several_tokens(self):
        with pytest.raises(ConfigError, match="not one token"):
            find_holes(
                ("a X",), lambda texts: [[1, *map(ord, text), 2] for text in texts if "q" in text] or [[1]], 9
            )

    def test_a_prompt_that_fills_the_context(self, clip):
        with pytest.raises(ConfigError, match=r"whole context of 24 tokens; shorten"):
            word_prompts(clip, ("a X of " + "a cat " * 12,))

    def test_a_backbone_without_a_known_text_tower(self, tmp_path):
        with pytest.raises(BackboneError, match=r"lite and of CLIP, not of tiny"):
            word_prompts(TinyBackbone(), TEXTS)
        save_siglip(tmp_path / "s")
        with pytest.raises(BackboneError, match="not of siglip"):
            word_prompts(load_backbone(f"siglip:{tmp_path / 's'}"), TEXTS)


@pytest.mark.slow
class TestLite:
    @pytest.fixture
    def lite(self):
        return load_backbone("lite")

    def test_a_words_own_vector_gives_the_plain_text(self, lite):
        texts = ("a X style of a dog", "a X style of a grand piano on a hill", "a X style of a")
        prompts = word_prompts(lite, texts)
        word = prompts.word_vector("cartoon")
        assert word.shape == (384,)
        found = prompts.embed(torch.stack([word, torch.zeros(384)]), torch.tensor([0, 1, 2]))
        plain = lite.embed_texts([text.replace("X", "cartoon") for text in texts])
        assert torch.allclose(found[0], plain, atol=1e-5)
        # A shorter batch is cut shorter, and stays the same.
        assert torch.allclose(prompts.embed(word[None], torch.tensor([0]))[0], plain[:1], atol=1e-5)

    def test_gradients_reach_the_word(self, lite):
        prompts = word_prompts(lite, ("a X style of a dog",))
        words = torch.full((1, 384), 0.01, requires_grad=True)
        prompts.embed(words, torch.tensor([0]))[..., 0].sum().backward()
        assert float(words.grad.norm()) > 0

    def test_names_that_it_cannot_read(self, lite):
        assert lite.reads("dog")
        assert lite.reads("dog \U00013000")
        assert not lite.reads("\u200b")
        assert not lite.reads("\U00013000")
