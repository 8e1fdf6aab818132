"""Which words a text tower reads, told by its own tokenizer: of all that it cannot read it makes one vector."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbones.tiny_models import save_clip, save_siglip
from crosslens.backbones import load_backbone
from crosslens.backbones.clip_tokens import clip_file_tokens
from crosslens.backbones.reading import Reading, has_letters, read_pieces
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Joint
from crosslens.support.errors import BackboneError, ConfigError
from talker import TalkerBackbone
from tiny import TinyBackbone

UNSEEN = ["\u200b", "\u0301", "\u0001", "\u202e\u202c", "\ufeff", "\u00ad", "\u3164", "\u2800", " \t\n", ""]


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Tokenizers of whole words, one of each kind, each of which takes a few pieces."""
    folder = tmp_path_factory.mktemp("towers")
    save_clip(folder / "clip")
    save_siglip(folder / "siglip")
    return {
        "clip": load_backbone(f"clip:{folder / 'clip'}").reading,
        "siglip": load_backbone(f"siglip:{folder / 'siglip'}").reading,
        "clip file": clip_file_tokens(folder / "clip", 6).read,
        "talker": TalkerBackbone().reading,
    }


@pytest.mark.parametrize("tower", ["clip", "siglip", "clip file", "talker"])
def test_words_and_none(towers, tower):
    read = towers[tower]
    assert read("a dog") == Reading(True)
    for text in UNSEEN:
        assert not read(text).words, ascii(text)


@pytest.mark.parametrize("tower", ["clip", "siglip", "clip file"])
def test_what_is_not_in_the_vocabulary(towers, tower):
    assert towers[tower]("狗") == Reading(False, ("狗",))
    assert towers[tower]("dog 狗").unknown == ("狗",)
    assert towers[tower]("dog 狗").words


@pytest.mark.parametrize(
    ("tower", "lost"), [("clip", "cat of dog"), ("siglip", "of dog"), ("clip file", "cat of dog")]
)
def test_what_is_too_long(towers, tower, lost):
    # Of six tokens CLIP needs two for start and end, SigLIP one.
    assert towers[tower]("a dog a dog cat of dog") == Reading(True, (), lost)


def test_a_mark_beside_an_unknown_word_is_no_word():
    assert not read_pieces("狗!", ["[UNK]", "!"], [False, True], [(0, 1), (1, 2)], 9).words
    assert read_pieces("!", ["!"], [True], [(0, 1)], 9).words
    assert not read_pieces("狗", ["▁", "<unk>"], [True, False], [(0, 1), (0, 1)], 9).words


@given(st.text(st.characters(categories=["Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp"]), max_size=5))
def test_marks_and_blanks_are_no_letters(text):
    assert not has_letters(text)
    assert has_letters(text + "é") == has_letters(unicodedata.normalize("NFD", "é") + text)


def test_encoders_refuse_what_nobody_can_read():
    talker = TalkerBackbone()
    encoder = Encoder(talker, [Joint(talker)])
    assert encoder.encode_texts("circle").shape == (1, 64)
    for text in UNSEEN:
        with pytest.raises(ConfigError, match="talker reads no word in the text"):
            encoder.encode_texts(["circle", text])
    with pytest.raises(ConfigError, match=r"the text 'caf\\xe9' is no UTF-8 text"):
        encoder.encode_texts("caf\udce9")
    with pytest.raises(BackboneError, match="no text tower"):
        TinyBackbone().reading("dog")


@pytest.mark.slow
def test_lite():
    lite = load_backbone("lite")
    for text in ("🐘", "🦒🐘", "猫", "ช้าง", "🐘!", *UNSEEN):
        assert not lite.reading(text).words, ascii(text)
    assert lite.reading("🐘 dog") == Reading(True, ("🐘",))
    long = lite.reading("a dog " * 150 + "an elephant " * 100)
    # 254 of the 500 word pieces are read.
    assert long.words
    assert long.lost.split()[:2] == ["a", "dog"]
    assert len(long.lost.split()) == 500 - 254
