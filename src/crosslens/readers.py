"""Readers that turn folders, manifests and list files into a Catalog."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crosslens.catalog import Catalog
from crosslens.errors import CatalogError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"}
)
MANIFEST_SUFFIXES = frozenset({".csv", ".parquet"})
_MANIFEST_COLUMNS = frozenset(
    {"id", "path", "domain", "label", "class", "split", "role", "width", "height", "sha256"}
)


def read(source: Path) -> Catalog:
    """Read a folder, one image, a CSV/Parquet manifest or a ``path label`` list.

    Raises:
        CatalogError: when ``source`` does not exist or holds no image.
    """
    if source.is_dir():
        for name in ("manifest.parquet", "manifest.csv"):
            if (source / name).is_file():
                return read_manifest(source / name)
        return read_folder(source)
    if not source.exists():
        raise CatalogError(f"{source} does not exist; give a folder of images, a manifest or a list file")
    suffix = source.suffix.lower()
    if suffix in MANIFEST_SUFFIXES:
        return read_manifest(source)
    if suffix == ".txt":
        return read_list(source)
    if suffix in IMAGE_SUFFIXES:
        row = {"path": source.name, "domain": source.parent.name or "image"}
        return Catalog.from_rows([row], source.parent)
    raise CatalogError(f"{source} is neither an image, a manifest (.csv, .parquet) nor a list (.txt)")


def read_folder(root: Path) -> Catalog:
    """Read ``root/<domain>/<class>/*`` with labels, or ``root/<domain>/*`` without.

    A folder that holds only images is one domain named after itself. Deeper folders keep the class of their
    first two levels. Files are sorted by name, so two machines read the same catalog.

    Raises:
        CatalogError: when a folder cannot be listed, or there is no image at all.
    """
    notes: list[str] = []
    rows = list(_folder_rows(root, notes))
    if not rows:
        detail = f" ({notes[0]})" if notes else ""
        raise CatalogError(
            f"no image below {root}{detail}; expected {root}/<domain>/<class>/* or {root}/<domain>/*"
            f" with one of {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return Catalog.from_rows(rows, root, notes)


def read_manifest(path: Path) -> Catalog:
    """Read a CSV or Parquet manifest; paths are relative to the manifest's folder.

    Columns: ``path`` and ``domain`` are needed; ``id, label (or class), split, role`` are used when present,
    ``width, height, sha256`` are accepted.

    Raises:
        CatalogError: for unknown or missing columns, or naming the offending row.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pa_parquet

    try:
        if path.suffix.lower() == ".parquet":
            table = pa_parquet.read_table(path)
        else:
            options = pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in _MANIFEST_COLUMNS}, strings_can_be_null=True
            )
            table = pa_csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    names = set(table.column_names)
    unknown = sorted(names - _MANIFEST_COLUMNS)
    if unknown or not {"path", "domain"} <= names:
        wrong = f"unknown columns {unknown}" if unknown else "no column 'path' or no column 'domain'"
        raise CatalogError(f"{path}: {wrong}; a manifest has {', '.join(sorted(_MANIFEST_COLUMNS))}")
    if "label" in names and "class" in names:
        raise CatalogError(f"{path}: give either 'label' or 'class', not both")
    if table.num_rows == 0:
        raise CatalogError(f"{path} lists no image")
    rows = ({("label" if k == "class" else k): v for k, v in row.items()} for row in table.to_pylist())
    try:
        return Catalog.from_rows(rows, path.parent)
    except CatalogError as error:
        raise CatalogError(f"{path}: {error}") from error


def read_list(
    path: Path,
    *,
    root: Path | None = None,
    domain: str | None = None,
    class_names: Mapping[int, str] | None = None,
) -> Catalog:
    """Read a list of ``path label`` lines, split at the *last* space (paths may hold spaces).

    Args:
        path: the list file.
        root: folder the paths start from; the list's own folder by default.
        domain: the domain of every line; by default the first part of each path.
        class_names: number to class name; without it the class is the folder that holds the image.

    Raises:
        CatalogError: naming the line that is wrong.
    """
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition(" ")
        if not file or not label.lstrip("-").isdigit():
            raise CatalogError(f"{path} line {number}: expected 'path label' with a whole number, got {line!r}")
        if class_names is None:
            name: str | None = Path(file).parent.name or None
        else:
            name = class_names.get(int(label))
            if name is None:
                known = f"{min(class_names)} to {max(class_names)}" if class_names else "none"
                raise CatalogError(f"{path} line {number}: label {label} has no class name (known: {known})")
        rows.append({"path": file, "domain": domain or Path(file).parts[0], "label": name})
    if not rows:
        raise CatalogError(f"{path} lists no image")
    return Catalog.from_rows(rows, root or path.parent)


def read_class_names(path: Path) -> list[str]:
    """Read class names, one a line; blank lines are skipped.

    Raises:
        CatalogError: when there is none, or a name occurs twice.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    if not names:
        raise CatalogError(f"{path} holds no class name; write one name a line")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogError(f"{path} names {', '.join(twice)} more than once")
    return names


def list_images(folder: Path, notes: list[str]) -> Iterator[Path]:
    """Every image file below ``folder``, relative to it, sorted by name within each folder.

    Links to folders are followed; a link back to a folder that holds it is left out and noted.

    Raises:
        CatalogError: when a folder cannot be listed.
    """
    yield from _walk(folder, Path(), frozenset(), notes)


def _walk(folder: Path, relative: Path, above: frozenset[str], notes: list[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        notes.append(f"{folder} was left out: it is a link to a folder that holds it")
        return
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise CatalogError(f"the folder {folder} cannot be read: {error.strerror}") from error
    stray = 0
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, relative / entry.name, above | {real}, notes)
        elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
            yield relative / entry.name
        else:
            stray += 1
    if stray:
        notes.append(f"{stray} file(s) in {folder} are no images and were left out")


def _folder_rows(root: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    for path in list_images(root, notes):
        parts = path.parts
        if len(parts) == 1:
            yield {"path": str(path), "domain": root.resolve().name or "images"}
        else:
            label = parts[1] if len(parts) > 2 else None
            yield {"path": path.as_posix(), "domain": parts[0], "label": label}
