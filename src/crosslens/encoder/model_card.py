"""The model card that every encoder folder carries."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from crosslens.encoder.header import Header, PartsSettings
from crosslens.similarity import Similarity

UNTRAINED = {
    "frozen": "the backbone as it is, without training",
    "centred": "the backbone's features minus the mean of each domain",
}
"""What the encoders are that need no training (``untrained.py``)."""
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
    # What a method is, it says itself; encoders of earlier versions have its name alone.
    summary = trained.pop("summary", UNTRAINED.get(header.method, header.method))
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
