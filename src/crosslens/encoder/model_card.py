"""The model card that every encoder folder carries."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from crosslens.encoder.header import Header, PartsSettings
from crosslens.nn.similarity import Similarity

UNTRAINED = {
    "frozen": "the backbone as it is, without training",
    "centred": "the backbone's features minus the mean of each domain",
}
"""What the encoders are that need no training (``untrained.py``)."""
_VERSION_0_1 = {
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
"""What encoders of version 0.1 are, which carry no word on it; a method's own ``summary`` is what counts since."""
_COMPARE = {
    "cosine": "compare them by their inner product.",
    "lorentz": "compare a query's, after `encoder.similarity.as_queries`, with the others by their inner product,"
    " which ranks by hyperbolic distance.",
}


def model_card(
    header: Header, settings: PartsSettings, dim: int, domains: Sequence[str], similarity: Similarity
) -> str:
    """Markdown that says what an encoder is, what it was trained on and how to use it.

    Args:
        header: of its ``config.json``.
        settings: of all known parts.
        dim: length of its vectors.
        domains: those it treats apart.
        similarity: how its vectors are compared.
    """
    trained = dict(header.trained)
    oracle = trained.pop("oracle", None)
    marks = trained.pop("marks", ())
    summary = trained.pop("summary", None) or _summary(header.method, domains)
    domain = f', domain="{domains[0]}"' if domains else ""
    rows = {"backbone": f"`{header.backbone}`", "fingerprint": f"`{header.fingerprint.digest}`"}
    for kind, part in settings.items():
        rows |= kind.card(part)
    lines = [
        "---",
        "library_name: crosslens",
        "tags: [cross-domain-image-retrieval]",
        "---",
        "",
        f"# {header.method} on {header.backbone}",
        "",
        f"Made by {summary}.",
        f"Gives unit vectors of {dim} numbers; {_COMPARE[similarity.kind]}",
        "",
        "```python",
        "import crosslens",
        'encoder = crosslens.load_encoder("PATH OF THIS FOLDER")',
        f'vectors = encoder.encode_images(["a.jpg", "b.png"]{domain})',
        "```",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
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


def _summary(method: str, domains: Sequence[str]) -> str:
    """What an encoder is that does not say so itself."""
    # TKI has domains only where it was given images to take their means of.
    key = "tki, centred" if method == "tki" and domains else method
    return (UNTRAINED | _VERSION_0_1).get(key, method)
