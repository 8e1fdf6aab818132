"""What ``match`` gives: pairs, what has no partner, and how both are shown and written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crosslens.search.grid import Tile, picture_tile, tiles_as_html, write_pairs
from crosslens.support.addresses import path_here
from crosslens.support.errors import ConfigError
from crosslens.support.files import atomic_path, write_json
from crosslens.support.tables import SUFFIXES, Table, Tabled
from crosslens.support.terminal import visible

FORMAT = 1
SHOWN = 12
"""Pairs that a result shows of itself."""
_DRAWN = 100
"""Pairs, and pictures without a partner, that a sheet shows of each kind; the tables have them all."""
_COLUMNS = ("status", "a", "b", "probability", "score", "path_a", "path_b")
_STARTS = {".csv": ",".join(_COLUMNS).encode(), ".json": b'{\n  "format": 1,\n  "pairs": ['}
"""How files that may be people's own data begin where ``match`` wrote them."""
_FILES = ("pairs.csv", "pairs.html", "pairs.json")


@dataclass(frozen=True)
class Picture:
    """A picture of one side: its id there, and its file."""

    id: str
    path: str


@dataclass(frozen=True)
class Pair:
    """Two pictures that were put together.

    Attributes:
        a: of the side that asks.
        b: its partner.
        score: how alike they are, as in a search.
        probability: that they belong together, in [0, 1].
    """

    a: Picture
    b: Picture
    score: float
    probability: float


@dataclass(frozen=True)
class Alone:
    """A picture without a partner.

    Attributes:
        picture: it.
        guess: the pair that it would be in were less asked for; None where nothing was left for it.
    """

    picture: Picture
    guess: Pair | None = None


@dataclass(frozen=True, repr=False)
class Matches(Tabled):
    """Which picture of A is which of B.

    Attributes:
        pairs: the most probable first.
        alone_a: pictures of A without a partner, those with the best guess first.
        alone_b: those of B.
        skipped: pictures that could not be read, one sentence each.
        min_match: the least probability of a pair.
        rough: whether the probabilities are no more than a guess, because a side is too small to tell.
        notes: one sentence for each thing about the result that one should know.
    """

    pairs: tuple[Pair, ...]
    alone_a: tuple[Alone, ...]
    alone_b: tuple[Alone, ...]
    skipped: tuple[str, ...] = ()
    min_match: float = 0.5
    rough: bool = False
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """Pairs, then what has no partner, each with its guess: one row each, ``status`` telling which it is.

        The status is ``pair``, or ``only a`` and ``only b`` for a picture without a partner. In such a row the
        other picture is the guess, with its probability.
        """
        rows = [_row("pair", pair.a, pair.b, pair) for pair in self.pairs]
        rows += [
            _row("only a", one.picture, one.guess.b if one.guess else None, one.guess) for one in self.alone_a
        ]
        rows += [
            _row("only b", one.guess.a if one.guess else None, one.picture, one.guess) for one in self.alone_b
        ]
        return Table(_COLUMNS, tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "format": FORMAT,
            "pairs": [asdict(pair) for pair in self.pairs],
            "alone_a": [asdict(one) for one in self.alone_a],
            "alone_b": [asdict(one) for one in self.alone_b],
            "skipped": list(self.skipped),
            "min_match": self.min_match,
            "rough": self.rough,
            "notes": list(self.notes),
        }

    def write(self, place: str | Path) -> Path:
        """Write the result in one step, and return where.

        Args:
            place: a file that ends in ``.csv``, ``.md``, ``.tex`` (the table), ``.json`` (all of it), ``.html`` or
                ``.png`` (a sheet with both pictures of every pair); or a folder without an ending, for
                ``pairs.csv``, ``pairs.json`` and ``pairs.html``.

        Raises:
            ConfigError: for another ending, or a place that holds something else.
            CrosslensError: for a place that cannot be written.
        """
        place = Path(place)
        check_place(place)
        suffix = place.suffix.lower()
        if suffix == ".json":
            write_json(place, self.to_json())
        elif suffix in (".html", ".htm", ".png"):
            self.draw(place)
        elif suffix:
            self.table().write(place)
        else:
            with atomic_path(place) as temporary:
                temporary.mkdir(parents=True)
                for name in _FILES:
                    self.write(temporary / name)
        return place

    def draw(self, file: Path, *, linked: bool = False) -> None:
        """Draw pairs side by side into a ``.png`` or ``.html`` file, what has no partner behind them.

        Args:
            file: replaced in one step.
            linked: whether pictures lead to their files; for pages that stay on this machine.
        """
        tiles = [_tiles(pair, linked) for pair in self.pairs[:_DRAWN]]
        for alone, is_a in ((self.alone_a, True), (self.alone_b, False)):
            for one in alone[:_DRAWN]:
                own = _tile(one.picture, f"only in {'A' if is_a else 'B'}", linked)
                other = Tile(None, "no partner") if one.guess is None else _guessed(one.guess, is_a, linked)
                tiles.append((own, other) if is_a else (other, own))
        write_pairs(file, tiles, self._title)

    @property
    def _title(self) -> str:
        rough = ", probabilities are rough" if self.rough else ""
        counts = f"{len(self.pairs)} pairs, {len(self.alone_a)} only in A, {len(self.alone_b)} only in B"
        largest = max(len(self.pairs), len(self.alone_a), len(self.alone_b))
        return f"{counts}{rough}" + (f"; the first {_DRAWN} of each shown" if largest > _DRAWN else "")

    def __repr__(self) -> str:
        rough = ", probabilities are rough" if self.rough else ""
        first = f"{len(self.pairs)} pairs, {len(self.alone_a)} only in a, {len(self.alone_b)} only in b{rough}"
        lines = [
            f"  {pair.probability:.2f}  {visible(pair.a.id)} = {visible(pair.b.id)}" for pair in self.pairs[:SHOWN]
        ]
        more = [f"  and {len(self.pairs) - SHOWN} more"] if len(self.pairs) > SHOWN else []
        return "\n".join([first, *lines, *more])

    def _repr_html_(self) -> str:
        tiles = [tile for pair in self.pairs[:SHOWN] for tile in _tiles(pair, False)]
        first, *_ = repr(self).split("\n", 1)
        shown = f"{first}, the first {SHOWN} pairs shown" if len(self.pairs) > SHOWN else first
        return tiles_as_html(tiles, ". ".join([shown, *self.notes]))


def check_place(place: Path) -> None:
    """Whether a result of ``match`` may be written there: nothing else is written over.

    Raises:
        ConfigError: for an unknown ending, an address, or a file or folder that holds something else.
    """
    path_here(place)
    suffix = place.suffix.lower()
    if place.is_dir():
        others = sorted({file.name for file in place.iterdir()} - set(_FILES))
        if others:
            raise ConfigError(
                f"{place} holds other files ({', '.join(others[:3])}), which would be lost; name a new folder"
            )
        return
    if not suffix:
        if place.exists():
            raise ConfigError(f"{place} is a file; name another folder, or a file that ends in .csv or .json")
        return
    known = (".json", ".png", *SUFFIXES)
    if suffix not in known:
        raise ConfigError(f"pairs are written to a folder or a file that ends in {', '.join(known)}, not {place}")
    if suffix in _STARTS and place.is_file():
        with open(place, "rb") as file:
            start = file.read(len(_STARTS[suffix]))
        if start not in (b"", _STARTS[suffix]):
            raise ConfigError(f"{place} holds something else, which would be lost; name a new file")


def _row(status: str, a: Picture | None, b: Picture | None, pair: Pair | None) -> tuple[Any, ...]:
    numbers = (None, None) if pair is None else (pair.probability, pair.score)
    return (status, a and a.id, b and b.id, *numbers, a and a.path, b and b.path)


def _tiles(pair: Pair, linked: bool) -> tuple[Tile, Tile]:
    return _tile(pair.a, f"p = {pair.probability:.2f}", linked), _tile(pair.b, f"score {pair.score:.3f}", linked)


def _guessed(pair: Pair, is_a: bool, linked: bool) -> Tile:
    return _tile(pair.b if is_a else pair.a, f"a guess, p = {pair.probability:.2f}", linked)


def _tile(picture: Picture, caption: str, linked: bool) -> Tile:
    return picture_tile(picture.path, (caption, picture.id), linked=linked)
