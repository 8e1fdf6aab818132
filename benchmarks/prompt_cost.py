"""What learning domain words costs: seconds a step in a text tower of CLIP ViT-B/32's size, and for ``lite``.

    python benchmarks/prompt_cost.py --json cost.json

The CLIP tower has random weights of the published sizes (12 layers, width 512, context 77) and a stand-in
tokenizer that gives every word one or two tokens, so that nothing is downloaded; time does not depend on weights.
Prompts are those of DomainNet's 300 seen classes. ``whole context`` is what prompts cost without cutting the
context and without sharing their beginning.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.clip import ClipBackbone, clip_preprocess
from crosslens.backbones.prompts import HOLE, WordPrompts, word_prompts
from crosslens.datasets.domainnet import SPLIT

START, END, CONTEXT = 49406, 49407, 77


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = [name.replace("_", " ") for name in SPLIT.seen]
    texts = [*(f"a X style of a {name}" for name in names), "a X style of a"]
    results: dict[str, Any] = {"threads": options.threads, "names": len(names)}
    for name, backbone in (("lite", load_backbone("lite")), ("clip ViT-B/32", random_clip())):
        prompts = word_prompts(backbone, texts)
        results[name] = value = measure(prompts, backbone, len(names), options.repeats)
        print(name, json.dumps(value, indent=1), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=2))


def measure(prompts: WordPrompts, backbone: Any, count: int, repeats: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(8, prompts.width, generator=generator) * 0.02
    some = torch.randperm(count, generator=generator)[:4]
    free = torch.tensor([count])

    def joint() -> None:
        given = words.clone().requires_grad_(True)
        (prompts.embed(given, some)[..., 0].sum() + prompts.embed(given, free)[..., 0].sum()).backward()

    def sequential() -> None:
        given = words[:1].clone().requires_grad_(True)
        prompts.embed(given, torch.arange(count + 1))[..., 0].sum().backward()

    @torch.no_grad()
    def describe() -> None:
        prompts.embed(words[:1], torch.arange(count))

    value: dict[str, Any] = {
        "tokens": {"longest": int(prompts.lengths.max()), "mean": float(prompts.lengths.float().mean())}
    }
    value["joint step, 8 words x (4 classes + 1)"] = seconds(joint, repeats)
    value["sequential iteration, 1 word x 301 prompts"] = seconds(sequential, repeats)
    value["describe 300 classes under 1 word"] = seconds(describe, repeats)
    if isinstance(backbone, ClipBackbone):
        numbers = F.pad(backbone.token_numbers(list(prompts.texts[:32])), (0, CONTEXT), value=END)[:, :CONTEXT]

        def whole() -> None:
            table = backbone.text_tower.text.embeddings.token_embedding
            hook = table.register_forward_hook(lambda *given: given[2].detach().requires_grad_(True))
            backbone.text_tower(numbers)[:, 0].sum().backward()
            hook.remove()

        value["32 prompts, whole context"] = seconds(whole, repeats)
        value["largest difference to the whole context"] = difference(prompts, backbone, numbers)
        value["32 prompts, cut and shared"] = seconds(
            lambda: (
                prompts.embed(words[:1].clone().requires_grad_(True), torch.arange(32))[..., 0].sum().backward()
            ),
            repeats,
        )
    step, iteration = (
        value["joint step, 8 words x (4 classes + 1)"],
        value["sequential iteration, 1 word x 301 prompts"],
    )
    described = 80 * value["describe 300 classes under 1 word"]
    value["minutes, K = 80, 300 names"] = {
        "joint, 150 steps": (150 * step + described) / 60,
        "joint, 3000 steps": (3000 * step + described) / 60,
        "sequential, 100 iterations, all classes": (8000 * iteration + described) / 60,
    }
    return value


@torch.no_grad()
def difference(prompts: WordPrompts, backbone: ClipBackbone, padded: torch.Tensor) -> float:
    """Of any number in the unit rows, when the word that the padded texts have in the hole is put there."""
    word = prompts.word_vector(HOLE)[None]
    cut = prompts.embed(word, torch.arange(len(padded)))[0]
    whole = F.normalize(backbone.text_tower(padded), dim=1)
    return float((cut - whole).abs().max())


def seconds(work: Callable[[], None], repeats: int) -> float:
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def random_clip() -> ClipBackbone:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    # transformers' defaults are ViT-B/32's sizes; the image tower is not run.
    config = CLIPConfig(vision_config={"num_hidden_layers": 1})
    model = CLIPModel(config).eval().requires_grad_(False)
    return ClipBackbone("clip:random", model, clip_preprocess(224), lambda: numbers)


def numbers(texts: Sequence[str]) -> torch.Tensor:
    rows = []
    for text in texts:
        row = [START]
        for word in text.split():
            number = sum(ord(letter) * 31**place for place, letter in enumerate(word)) % 40000
            row += [number] if len(word) < 8 else [number, number + 1]
        rows.append(torch.tensor([*row, END]))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=END)


if __name__ == "__main__":
    main()
