"""The run folder: everything about one training, readable without the code that made it.

RUN/config.yaml      what was asked for, resolved
RUN/log.jsonl        one line an epoch
RUN/checkpoints/     last.pt, and failed.pt after a NaN
RUN/encoder/         the result
RUN/metrics.json     what ``crosslens evaluate`` measured
RUN/report.html      what ``crosslens report`` drew
RUN/tried/METHOD/    a run that ``fit auto`` set aside
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any, cast

import yaml
from filelock import FileLock, Timeout

from crosslens.data.catalog import Catalog
from crosslens.encoder.folders import folder_here
from crosslens.support.addresses import Place, joined, place_of
from crosslens.support.curves import draw_curves
from crosslens.support.errors import RunError
from crosslens.support.files import (
    atomic_path,
    read_json,
    read_yaml,
    remove,
    require_known_format,
    write_json,
    write_text,
)
from crosslens.support.progress import note
from crosslens.support.remote import Remote
from crosslens.support.tables import Cell, Table
from crosslens.support.terminal import visible

FORMAT = 1
IMAGES = "images.parquet"
"""Manifest in a run folder of what a Catalog object held, which no path would find again."""
_TRIED = "tried"
"""Folder in a run folder of what was trained and set aside, a run each."""
_BEFORE_LEARNING = frozenset({"config.yaml", IMAGES, "held_out.json", "labels.json", "labels.parquet"})


class Run:
    """One run folder.

    Args:
        folder: of this machine.
        place: where it was copied from; a run at an address is read and never changed.
    """

    def __init__(self, folder: Path, place: Place | None = None) -> None:
        self.folder = folder
        self.place = place or folder

    @classmethod
    def at(cls, place: str | Path) -> Run:
        """The run of a folder, or at an address.

        Raises:
            RunError: when there is none at the address.
        """
        return cls(folder_here(place), place_of(place))

    def __repr__(self) -> str:
        domains = ", ".join(self.said("domains") or ())
        state = "finished" if self.is_finished else "not finished"
        return f"<Run {self.place}: {self.said('method')} on {domains or 'no domain'}, {state}>"

    def _repr_html_(self) -> str:
        """The configuration, what was measured, and every logged number over the epochs."""
        config = self.said("settings") or {}
        rows: list[tuple[Cell, ...]] = [(key, str(value)) for key, value in config.items()]
        measured: list[tuple[Cell, ...]] = [
            (protocol, key, value)
            for protocol, found in (self.read_metrics() or {}).items()
            for key, value in found.get("metrics", {}).items()
        ]
        numbers: dict[str, list[float]] = {}
        for entry in self.read_log():
            for key, value in entry.items():
                if isinstance(value, int | float) and key not in ("epoch", "seconds"):
                    numbers.setdefault(key, []).append(float(value))
        parts = [
            f"<p>{escape(visible(repr(self)))}</p>",
            Table(("protocol", "metric", "mean"), tuple(measured)).to_html() if measured else "",
            draw_curves(numbers, x="epochs", y="logged while training"),
            f"<details><summary>Settings</summary>{Table(('setting', 'value'), tuple(rows)).to_html()}</details>",
        ]
        return "".join(parts)

    @property
    def encoder_folder(self) -> Path:
        """Where the encoder of the last epoch lies."""
        return self.folder / "encoder"

    @property
    def oracle_folder(self) -> Path:
        """Where an ``--oracle`` run keeps the encoder of the epoch that labels liked best."""
        return self.folder / "encoder-oracle-best"

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end."""
        return (self.encoder_folder / "config.json").is_file()

    @classmethod
    def start(
        cls,
        folder: Path,
        config: dict[str, Any],
        *,
        resume: bool,
        renewed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> Run:
        """Begin a run in a new folder, or continue one whose configuration is the same.

        A folder where nothing was learned yet, since the settings or the images were refused, counts as new.

        Args:
            folder: the run folder.
            config: what is asked for, resolved.
            resume: whether a run that is there may go on.
            renewed: turns a configuration of an earlier version into what it would be now.

        Raises:
            RunError: when the folder holds another run, or ``resume`` is missing or meets other settings.
        """
        run = cls(folder)
        resolved = {"format": FORMAT, **config}
        if resume and (folder / "config.yaml").is_file() and not run._is_untouched():
            differing = _differences(renewed(run.config()), resolved)
            if differing:
                raise RunError(f"{folder} was started with other settings, so it cannot go on: {differing}")
            return run
        run.require_new()
        # What an attempt left that was refused may be wrong of this one: other images are held out.
        for name in _BEFORE_LEARNING:
            remove(folder / name)
        run._write_config(resolved)
        return run

    def require_new(self) -> None:
        """Check that a run may begin here.

        Raises:
            RunError: when the folder holds a run in which something was learned, or anything else.
        """
        if not self.folder.is_dir() or self._is_untouched():
            return
        if (self.folder / "config.yaml").is_file():
            raise RunError(f"{self.folder} holds a run already; continue it with --resume or take another folder")
        raise RunError(f"{self.folder} is not empty and holds no run; choose another folder")

    def amend(self, values: Mapping[str, Any]) -> None:
        """Write these values into ``config.yaml`` in place of what it says of them."""
        self._write_config({**self.config(), **values})

    def tried(self, name: str) -> Path:
        """Where a run that was set aside lies."""
        return self.folder / _TRIED / name

    def set_aside(self, name: str) -> None:
        """Move what was learned to ``tried/<name>``, so that another run may begin here; may be done again.

        Both keep what tells which images they are of.
        """
        place = self.tried(name)
        place.mkdir(parents=True, exist_ok=True)
        for entry in sorted(self.folder.iterdir()):
            target = place / entry.name
            if entry.name in (".lock", _TRIED):
                continue
            if entry.name in ("config.yaml", IMAGES):
                shutil.copyfile(entry, target)
                continue
            remove(target)
            entry.rename(target)

    def said(self, key: str) -> Any:
        """One value of the configuration; None where there is no run yet, or it does not say."""
        try:
            return self.config().get(key)
        except RunError:
            return None

    def _write_config(self, values: dict[str, Any]) -> None:
        write_text(self.folder / "config.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def _is_own(self) -> bool:
        """Whether the configuration there was written by ``start``."""
        return None not in (self.said("format"), self.said("method"))

    def _is_untouched(self) -> bool:
        """Whether the folder holds no more than what is written before learning begins, and nobody works in it."""
        entries = {entry.name for entry in self.folder.iterdir()} - {".lock", _TRIED}
        if not entries <= _BEFORE_LEARNING or (entries and not self._is_own()):
            return False
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                return True
        except Timeout:
            return False
        except OSError:
            # It cannot be written; what is written next says so.
            return True

    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            RunError: when it is missing, damaged, or of a newer crosslens.
        """
        file = self.folder / "config.yaml"
        if not file.exists():
            raise RunError(f"{self.place} is no run folder (no config.yaml)")
        value = read_yaml(file, RunError)
        require_known_format(value, self.folder, FORMAT, RunError)
        return value

    def catalog(self) -> Catalog:
        """All images that the run was started on, its own domains and others, with labels where there are any.

        Raises:
            RunError: when the run does not say which.
            CatalogError: when they are no longer there.
        """
        config = self.config()
        if "source" not in config:
            raise RunError(
                f"the run {self.place} began without images; give some to measure it on:"
                f" crosslens evaluate {self.place} PICTURES"
            )
        # An absolute source stays what it is; a manifest of the run's own lies in its folder.
        catalog = Catalog.open(joined(self.folder, config["source"]))
        return catalog.rooted_at(place_of(config["root"])) if config["source"] == IMAGES else catalog

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to ``log.jsonl``."""
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """Every complete line of the log; of an epoch run twice (after a resume) the later one."""
        file = self.folder / "log.jsonl"
        if not file.is_file():
            return []
        entries: dict[Any, dict[str, Any]] = {}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a line cut off by a kill
            key = (entry.get("name"), entry["epoch"]) if "epoch" in entry else number
            entries[key] = entry
        return list(entries.values())

    def save_checkpoint(self, state: dict[str, Any], name: str = "last") -> None:
        """Write tensors and plain values to ``checkpoints/<name>.pt`` atomically.

        Raises:
            CrosslensError: when it cannot be written, as on a full disk; the one before it stays.
        """
        import torch

        with atomic_path(self.folder / "checkpoints" / f"{name}.pt") as temporary:
            try:
                with open(temporary, "wb") as file:
                    torch.save(state, file)
            except RuntimeError as error:
                # torch's archive fails in its own words, whatever the system said of the disk.
                cause = error.__context__
                if not isinstance(cause, OSError):
                    raise
                advice = "make room and go on with --resume: the checkpoint before this one is whole"
                raise OSError(cause.errno, f"{cause.strerror}; {advice}") from error

    def load_checkpoint(self, name: str = "last") -> dict[str, Any] | None:
        """Read a checkpoint; None when there is none yet.

        Raises:
            RunError: when it is damaged.
        """
        file = self.folder / "checkpoints" / f"{name}.pt"
        if not file.is_file():
            return None
        import torch

        try:
            return cast(dict[str, Any], torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:
            # torch raises many kinds on a damaged archive.
            raise RunError(f"{file} cannot be read ({error}); delete it to start this run anew") from error

    def drop_checkpoints(self) -> None:
        """Remove what only an unfinished run goes on from; what a failure left stays."""
        folder = self.folder / "checkpoints"
        for file in folder.glob("*.pt") if folder.is_dir() else ():
            if file.name != "failed.pt":
                file.unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def write_held_out(self, ids: list[str]) -> None:
        """Name the images that training left out, which alone may be evaluated."""
        write_json(self.folder / "held_out.json", {"ids": ids})

    def read_held_out(self) -> set[str] | None:
        """The images to evaluate on; None when training saw no label and all may be used."""
        file = self.folder / "held_out.json"
        return set(read_json(file, RunError)["ids"]) if file.is_file() else None

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write ``metrics.json``; of a run at an address it is said that they are not kept."""
        if isinstance(self.place, Remote):
            note(f"{self.place} is read and not changed; --json FILE keeps what was measured")
            return
        write_json(self.folder / "metrics.json", metrics)

    def read_metrics(self) -> dict[str, Any] | None:
        """The content of ``metrics.json``; None when nothing was measured yet."""
        file = self.folder / "metrics.json"
        return read_json(file, RunError) if file.is_file() else None


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = _differences(a, b, f"{prefix}{key}.")
            if inner:
                found.append(inner)
        elif a != b:
            found.append(f"{prefix}{key}: {a} then, {b} now")
    return "; ".join(found)
