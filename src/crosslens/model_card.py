"""The model card that every encoder folder carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from crosslens.encoder import EncoderConfig

_METHODS = {
    "frozen": "the backbone as it is, without training",
    "centred": "the backbone's features minus the mean of each domain",
    "instance": "instance contrast per domain, without labels",
    "protonce": "instance contrast and ProtoNCE per domain, without labels",
    "ucdir": "UCDIR (instance and cluster-wise contrast, self-entropy, distance-of-distance), without labels",
    "tki": "TKI (a reconstruction): domain words and a projection learned from class names alone, without images",
    "tki, centred": "TKI (a reconstruction): domain words and a projection learned from class names, behind images"
    " of which the mean of their domain's unlabelled images is taken off",
    "clair": "a reconstruction of CLAIR from its abstract: class names, a vision-language model's noisy labels, no"
    " label of an image",
    "text-map": "a closed-form map between domains, fitted on the class names' text embeddings alone (part of a"
    " reconstruction of CLAIR)",
    "uem": "UEM (semantic-enhanced private and unified prototypes per domain), without labels",
    "supervised": "a head trained with the labels of a part of the images: an upper bound, no rival of the others",
}


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
        f"Made by {_made_by(config)}.",
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


def _made_by(config: EncoderConfig) -> str:
    # TKI has centres only where it was given images for them.
    method = "tki, centred" if config.method == "tki" and config.domains else config.method
    return _METHODS.get(method, method)


def _is_hyperbolic(config: EncoderConfig) -> bool:
    return config.projection is not None and config.projection.similarity.kind == "lorentz"
