"""The model card that every encoder folder carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from crosslens.encoder import EncoderConfig

_COMPARE = {
    False: "compare them by their inner product.",
    True: "compare a query's, after `encoder.similarity.as_queries`, with the others by their inner product, which"
    " ranks by hyperbolic distance.",
}


def model_card(config: EncoderConfig, dim: int) -> str:
    """Markdown that says what an encoder is, what it was trained on and how to use it."""
    trained = dict(config.trained)
    oracle = trained.pop("oracle", None)
    marks = trained.pop("marks", ())
    # What a method is, it says itself; an encoder without a word of its own has the method's name.
    summary = trained.pop("summary", config.method)
    known = config.domains or config.mapped or (config.prompts.domains if config.prompts else ())
    domain = f', domain="{known[0]}"' if known else ""
    lines = [
        "---",
        "library_name: crosslens",
        "tags: [cross-domain-image-retrieval]",
        "---",
        "",
        f"# {config.method} on {config.backbone}",
        "",
        f"Made by {summary}.",
        f"Gives unit vectors of {dim} numbers; {_COMPARE[_is_hyperbolic(config)]}",
        "",
        "```python",
        "import crosslens",
        'encoder = crosslens.load_encoder("PATH OF THIS FOLDER")',
        f'vectors = encoder.encode_images(["a.jpg", "b.png"]{domain})',
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| backbone | `{config.backbone}` |",
        f"| fingerprint | `{config.fingerprint.digest}` |",
        f"| space | {config.space} |",
        f"| domains with a centre of their own | {', '.join(config.domains) or 'none'} |",
        f"| domains with a map of their own | {', '.join(config.mapped) or 'none'} |",
        f"| backbone weights trained too | {'yes' if config.tuned else 'no'} |",
        "",
    ]
    if oracle:
        lines += [f"> **Oracle:** {oracle}. Such results must not be compared with label-free ones.", ""]
    lines += [line for mark in marks for line in (f"> **Marked:** {mark}. So is every result.", "")]
    if trained:
        text = yaml.safe_dump(trained, sort_keys=False, allow_unicode=True).strip()
        lines += ["## How it was made", "", "```yaml", text, "```", ""]
    lines += [
        "Vectors of this encoder can be compared only with its own. What it was measured on stands in its"
        " run's `metrics.json`.",
        "",
    ]
    return "\n".join(lines)


def _is_hyperbolic(config: EncoderConfig) -> bool:
    return config.projection is not None and config.projection.similarity.kind == "lorentz"
