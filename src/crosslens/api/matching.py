"""``match``: which picture of one collection is which of another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.api.match_request import MatchRequest
from crosslens.api.matches import Alone, Matches, Pair, Picture
from crosslens.data.catalog import Catalog
from crosslens.data.names import name_or
from crosslens.data.source import Source, open_catalog
from crosslens.encoder import Encoder, load_encoder
from crosslens.features.of_encoder import features_of_encoder, folder_for
from crosslens.ops.pairing import (
    doubt_shares,
    find_candidates,
    pair_many_to_one,
    pair_one_to_one,
    share_out,
    temperature_of,
)
from crosslens.support.errors import ConfigError, NothingEmbeddedError
from crosslens.support.progress import note, progress
from crosslens.support.request import takes
from crosslens.training.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 10
"""Pictures of either side below which probabilities are rough: how far scores spread cannot be told from fewer."""


@takes(MatchRequest)
def match(
    a: Source, b: Source | None = None, *, encoder: Encoder | Run | str | Path = "lite", **options: Any
) -> Matches:
    """Pair the pictures of two collections, such as a catalogue and photos of a shop, and say what has no partner.

    No labels and no training. What cannot be read is left out and named in the result.

    Args:
        a: a folder of pictures, a manifest or a Catalog; without ``b`` one that holds two domains.
        b: the same.
        encoder: makes the vectors: an Encoder, a run or its folder, an encoder folder or a backbone's name.
        options: of a ``MatchRequest``.

    Raises:
        ConfigError: when it is not told which two sides are meant, or a picture is on both.
        NothingEmbeddedError: when none of a side's pictures can be read.
    """
    place = encoder.folder if isinstance(encoder, Run) else encoder
    return match_pictures(MatchRequest.of(a=a, b=b, encoder=place, **options))


def match_pictures(request: MatchRequest) -> Matches:
    """What ``match`` does, for a request."""
    sides = _sides(request)
    _require_apart(*sides)
    encoder = load_encoder(request.encoder)
    _tell_of_domains(encoder, sides, request)
    pictures: list[list[Picture]] = []
    vectors: list[NDArray[np.float32]] = []
    skipped: list[str] = []
    for which, catalog in zip("AB", sides, strict=True):
        try:
            found = features_of_encoder(
                catalog,
                encoder,
                folder=folder_for(encoder, request.features),
                device=request.device,
                tell=False,
            )
        except NothingEmbeddedError as error:
            raise NothingEmbeddedError(f"side {which}: {error}", error.reasons) from error
        kept = found.catalog
        vectors.append(encoder.encode_features(found.centre, kept.column("domain")))
        pictures.append([Picture(i, str(path)) for i, path in zip(kept.ids, kept.paths, strict=True)])
        skipped += [one.told for one in found.skipped]
    return _paired(encoder, pictures, vectors, skipped, request)


def _paired(
    encoder: Encoder,
    pictures: list[list[Picture]],
    vectors: list[NDArray[np.float32]],
    skipped: list[str],
    request: MatchRequest,
) -> Matches:
    a, b = encoder.similarity.as_queries(vectors[0]), vectors[1]
    with progress(len(a) + len(b), "comparing") as advance:
        candidates = find_candidates(a, b, on_progress=advance)
    shares = share_out(candidates, temperature_of(a, b), many=request.many)
    if request.many:
        chosen = pair_many_to_one(candidates, shares)
        probabilities = np.minimum(shares[chosen], 1)
    else:
        chosen = pair_one_to_one(candidates, shares)
        probabilities = doubt_shares(candidates, shares, chosen)
    pairs: list[Pair] = []
    guess_a: dict[int, Pair] = {}
    guess_b: dict[int, Pair] = {}
    partnered_a, partnered_b = set(), set()
    for place, probability in zip(chosen.tolist(), probabilities.tolist(), strict=True):
        row, column = int(candidates.rows[place]), int(candidates.columns[place])
        pair = Pair(pictures[0][row], pictures[1][column], float(candidates.scores[place]), probability)
        if probability >= request.min_match:
            pairs.append(pair)
            partnered_a.add(row)
            partnered_b.add(column)
        else:
            guess_a[row] = pair
            guess_b.setdefault(column, pair)
    rough = min(len(a), len(b)) < LEAST
    notes = [f"a side has fewer than {LEAST} pictures, so the probabilities are rough"] if rough else []
    if request.many:
        notes.append("the probabilities hold where most pictures of A have a partner, and are too high elsewhere")
    return Matches(
        tuple(pairs),
        _alone(pictures[0], partnered_a, guess_a),
        _alone(pictures[1], partnered_b, guess_b),
        tuple(skipped),
        request.min_match,
        rough,
        tuple(notes),
    )


def _alone(pictures: list[Picture], partnered: set[int], guesses: dict[int, Pair]) -> tuple[Alone, ...]:
    left = [Alone(one, guesses.get(row)) for row, one in enumerate(pictures) if row not in partnered]
    return tuple(sorted(left, key=lambda one: -one.guess.probability if one.guess else 0.0))


def _sides(request: MatchRequest) -> tuple[Catalog, Catalog]:
    """Both sides without labels, each of one domain."""
    if request.b is None:
        whole = open_catalog(request.a).hide_labels()
        names = whole.domains_named(request.domains) if request.domains else tuple(whole.domains)
        if len(names) != 2 or names[0] == names[1]:
            told = f"it has {len(whole.domains)}: {', '.join(whole.domains[:8])}"
            raise ConfigError(f"give two folders, or two domains of this one by --domains A,B; {told}")
        return whole.select(domains=[names[0]]), whole.select(domains=[names[1]])
    if request.features is not None:
        raise ConfigError(
            "a feature folder holds one collection: give the folder above both, with --domains A,B; without"
            " --features, vectors are kept in the cache"
        )
    if request.domains is not None and len(request.domains) != 2:
        raise ConfigError(f"two sides have two domains, not {len(request.domains)}")
    a, b = open_catalog(request.a), open_catalog(request.b)
    names = request.domains or (_name(a, "a"), _name(b, "b"))
    return a.of_one_domain(names[0]).hide_labels(), b.of_one_domain(names[1]).hide_labels()


def _name(catalog: Catalog, otherwise: str) -> str:
    """The look of a side, where nobody said it: a manifest's only domain, else the folder's name."""
    return catalog.domains[0] if len(catalog.domains) == 1 else name_or(catalog.root.resolve().name, otherwise)


def _require_apart(a: Catalog, b: Catalog) -> None:
    here, there = ({str(path.resolve()) for path in side.paths} for side in (a, b))
    both = sorted(here & there)
    if both:
        told = "both sides are the same pictures" if here == there else f"{len(both)} pictures are on both sides"
        raise ConfigError(f"{told} ({both[0]}), and each would be its own partner; give every picture to one side")


def _tell_of_domains(encoder: Encoder, sides: tuple[Catalog, Catalog], request: MatchRequest) -> None:
    known = encoder.domains
    unknown = [side.domains[0] for side in sides if encoder.domain_named(side.domains[0]) not in known]
    if known and unknown:
        note(
            f"the encoder treats {', '.join(known)} each in its own way, and {', '.join(unknown)} is none of them;"
            " say which of them A and B are with --domains A,B",
            "yellow",
        )
