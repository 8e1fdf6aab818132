"""From texts to token numbers for CLIP and SigLIP."""

from __future__ import annotations

import gzip
import importlib.util
import json
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosslens.backbones.reading import Reading, read_by, read_pieces
from crosslens.support.errors import BackboneError
from crosslens.support.files import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from crosslens.backbones.pretrained import Pretrained


@dataclass(frozen=True)
class Tokens:
    """A tokenizer.

    Attributes:
        numbers: ``T`` texts to token numbers ``(T, L)``, int64.
        read: how one text is read.
    """

    numbers: Callable[[Sequence[str]], Tensor]
    read: Callable[[str], Reading]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """``T`` texts to token numbers ``(T, L)``, int64."""
        return self.numbers(texts)


START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = "bpe_simple_vocab_16e6.txt.gz"
"""The file with CLIP's vocabulary that OpenAI published beside its code; open_clip's package carries it too."""

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
# The published file lists more merges than CLIP's vocabulary of 49,408 uses beside letters, start and end.
_MERGE_COUNT = 49408 - 512 - 2
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clip_tokens(model: Pretrained, length: int) -> Tokens:
    """The tokenizer of a CLIP folder or hub id; texts are cut at ``length`` and padded to the longest.

    Raises:
        BackboneError: when the model has no tokenizer.
    """
    tokenizer = _load_tokenizer(model)
    # CLIP's text tower looks from left to right and reads its result at the end token: what follows is ignored.
    tokenizer.padding_side = "right"
    return Tokens(
        lambda texts: _numbers(tokenizer, texts, length, padding="longest"),
        lambda text: read_by(tokenizer, text, length),
    )


def siglip_tokens(model: Pretrained, length: int) -> Tokens:
    """The tokenizer of a SigLIP folder or hub id; lower case, every text cut or padded to ``length``.

    SigLIP was trained without an attention mask and reads its result at the last position, so padding counts.

    Raises:
        BackboneError: when the model has no tokenizer.
    """
    tokenizer = _load_tokenizer(model)
    tokenizer.padding_side = "right"
    file = model.file("tokenizer_config.json")
    # The first SigLIP's own tokenizer class drops punctuation; a plain one made from tokenizer.json may not.
    is_first = file is not None and read_json(file, BackboneError).get("tokenizer_class") == "SiglipTokenizer"

    def clean(text: str) -> str:
        small = text.lower()
        return " ".join(small.translate(_PUNCTUATION).split()) if is_first else small

    return Tokens(
        lambda texts: _numbers(tokenizer, [clean(text) for text in texts], length, padding="max_length"),
        lambda text: read_by(tokenizer, clean(text), length),
    )


def clip_file_tokens(folder: Path, length: int) -> Tokens:
    """CLIP's tokenizer from files beside a weights file: see ``find_clip_tokenizer``.

    Raises:
        BackboneError: when there are none, saying which to put there.
    """
    tokenizer = find_clip_tokenizer(folder)
    end = tokenizer.token_to_id(END)
    if end is None:
        raise BackboneError(f"the tokenizer in {folder} has no {END}, so it is not CLIP's")
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(pad_id=end, pad_token=END)

    def read(text: str) -> Reading:
        found = tokenizer.encode(text)
        pieces: list[str] = []
        known: list[bool] = []
        spans: list[tuple[int, int]] = []
        for part in (found, *found.overflowing):
            # Start, end and padding stand in every part.
            own = [place for place, special in enumerate(part.special_tokens_mask) if not special]
            pieces += [part.tokens[place] for place in own]
            known += [part.ids[place] != end for place in own]
            spans += [part.offsets[place] for place in own]
        return read_pieces(text, pieces, known, spans, length - 2)

    return Tokens(lambda texts: torch.tensor([found.ids for found in tokenizer.encode_batch(list(texts))]), read)


def find_clip_tokenizer(folder: Path) -> Tokenizer:
    """CLIP's tokenizer from ``tokenizer.json``, from ``vocab.json`` and ``merges.txt``, or from ``MERGES``.

    They are looked for in ``folder``; ``MERGES`` also in an installed ``open_clip`` or ``clip`` package, which is
    not imported.

    Raises:
        BackboneError: when nothing is found or a file is damaged.
    """
    from tokenizers import Tokenizer

    try:
        if (folder / "tokenizer.json").is_file():
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
            return _byte_pairs(vocabulary, _read_merges((folder / "merges.txt").read_text(encoding="utf-8")))
        for place in (folder, *_package_folders()):
            if (place / MERGES).is_file():
                text = gzip.decompress((place / MERGES).read_bytes()).decode("utf-8")
                return published_tokenizer(text)
    except Exception as error:
        # tokenizers raises bare Exception on damaged files.
        raise BackboneError(f"the tokenizer files in {folder} cannot be read: {error}") from error
    raise BackboneError(
        f"there is no CLIP tokenizer in {folder}, so images can be embedded but texts cannot. Put tokenizer.json,"
        f" or vocab.json and merges.txt, or {MERGES} beside the weights, or install open-clip-torch, which has it"
    )


def published_tokenizer(merges_text: str) -> Tokenizer:
    """CLIP's tokenizer from the text of OpenAI's merges file: a heading line, then one pair a line."""
    merges = _read_merges(merges_text)[:_MERGE_COUNT]
    letters = list(_byte_letters())
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    return _byte_pairs({word: number for number, word in enumerate(words)}, merges)


def _byte_pairs(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def _read_merges(text: str) -> list[tuple[str, str]]:
    lines = (line.split() for line in text.splitlines()[1:])
    return [(first, second) for first, second in (pair for pair in lines if len(pair) == 2)]


def _byte_letters() -> list[str]:
    """The 256 letters that stand for bytes, in the order of CLIP's vocabulary: printable ones first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*map(chr, printable), *(chr(256 + number) for number in range(256 - len(printable)))]


def _package_folders() -> list[Path]:
    specs = [importlib.util.find_spec(name) for name in ("open_clip", "clip")]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]


def _load_tokenizer(model: Pretrained) -> Any:
    # transformers makes an empty tokenizer when it finds none; and it is only shown files that are at hand.
    present = {name for name in _TOKENIZER_FILES if model.file(name) is not None}
    if not present & {"tokenizer.json", "vocab.json", "spiece.model"}:
        raise BackboneError(
            f"{model.source} has no tokenizer, so images can be embedded but texts cannot; put its tokenizer.json"
            " there"
        )
    try:
        return _read_tokenizer(model.source, has_json="tokenizer.json" in present)
    except ImportError as error:
        raise BackboneError(
            f"the tokenizer of {model.source} needs the package sentencepiece, or a tokenizer.json beside it"
        ) from error
    except Exception as error:
        # transformers and tokenizers raise many kinds for damaged files.
        raise BackboneError(f"the tokenizer of {model.source} cannot be loaded: {error}") from error


def _read_tokenizer(source: str, *, has_json: bool) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except ImportError:
        # SigLIP's tokenizer class wants sentencepiece; tokenizer.json, where there is one, does without.
        if not has_json:
            raise
        return PreTrainedTokenizerFast.from_pretrained(source, local_files_only=True)


def _numbers(tokenizer: Any, texts: Sequence[str], length: int, *, padding: str) -> Tensor:
    batch = tokenizer(list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt")
    numbers: Tensor = batch["input_ids"]
    return numbers
