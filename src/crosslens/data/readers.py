"""Readers that list the images of folders, manifests and list files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from crosslens.data.archives import archives_in, read_archives
from crosslens.data.listing import Listing
from crosslens.data.manifests import LARGE_SUFFIXES, MANIFEST_SUFFIXES, read_manifest, read_manifest_in_parts
from crosslens.data.names import name_or, nfc, read_name
from crosslens.images.formats import FILM_SUFFIXES, HEAD, SUFFIXES, UNREAD_SUFFIXES, format_of
from crosslens.support.addresses import Place
from crosslens.support.errors import CatalogError
from crosslens.support.members import read_bytes
from crosslens.support.remote import Remote

_SYSTEM_FOLDERS = frozenset(
    {
        "#recycle", "#snapshot", "@__thumb", "@eadir", "@recently-snapshot", "@recycle", "@sharebin", "@snapshot",
        "@synoresource", "@tmp", "$recycle.bin", "recycled", "recycler", "system volume information", "config.msi",
        "lost+found", *(f"found.{number:03}" for number in range(1000)),
        "__macosx", "network trash folder", "temporary items", "~snapshot",
    }
)  # fmt: skip
"""Where systems keep what was deleted, thumbnails and copies, folded: NAS, Windows, Unix, macOS. Others start with
a dot."""
_UNREAD = "pictures of formats or names that are not read"
_NO_SUFFIX = "no suffix"
# What lies beside pictures in great numbers and is never one.
_TEXTS = frozenset(
    {".txt", ".json", ".jsonl", ".csv", ".xml", ".xmp", ".md", ".yaml", ".html", ".npy", ".parquet"}
)
_LIST_LINE = re.compile(r"(?P<name>.*\S)\s+(?P<label>-?[0-9]+)")


def read(source: Place) -> Listing:
    """Read a folder, one image, a text table, a tar archive, or a ``path label`` list.

    Raises:
        CatalogError: when ``source`` does not exist or holds no image.
    """
    suffix = source.suffix.lower()
    if suffix in MANIFEST_SUFFIXES and source.is_file():
        return read_manifest(source)
    if suffix == ".tar" and source.is_file():
        return read_archives([source], source.parent)
    if suffix not in (".txt", *SUFFIXES) and source.is_dir():
        manifest = manifest_in(source)
        return _read_folder(source) if manifest is None else read_manifest(manifest)
    if not source.exists():
        raise CatalogError(f"{source} does not exist; give a folder of images, a manifest or a list file")
    if source.is_dir():
        return _read_folder(source)
    if suffix == ".txt":
        return read_list(source)
    if suffix in SUFFIXES:
        row = {"path": source.name, "domain": name_or(source.parent.name, "image")}
        return Listing([row], source.parent)
    raise CatalogError(
        f"{source} is neither an image, a manifest (.csv, .tsv, .parquet, .jsonl, .lance), an archive (.tar) nor a"
        " list (.txt)"
    )


def read_in_parts(source: Place, rows: int) -> Iterator[Listing]:
    """Read a Parquet or Lance table ``rows`` rows at a time, so that it need not fit into memory.

    Anything else is one part.

    Raises:
        CatalogError: as ``read``.
    """
    table: Place | None = source
    if source.suffix.lower() not in LARGE_SUFFIXES:
        table = manifest_in(source) if source.suffix.lower() not in SUFFIXES and source.is_dir() else None
    if table is not None and table.suffix.lower() in LARGE_SUFFIXES and table.exists():
        yield from read_manifest_in_parts(table, rows)
    else:
        yield read(source)


def manifest_in(folder: Place) -> Place | None:
    """The manifest that a folder is read by, where it holds one."""
    files = (folder / name for name in ("manifest.parquet", "manifest.csv", "manifest.jsonl"))
    return next((file for file in files if file.is_file()), None)


def _read_folder(root: Place) -> Listing:
    """Read ``root/<domain>/<class>/*`` with labels, or ``root/<domain>/*`` without.

    A folder that holds only images is one domain named after itself. Deeper folders keep the class of their
    first two levels. Files are sorted by name, so two machines read the same list. Pictures and films that are
    left out are counted by suffix. Where a folder holds tar archives instead of images, those of all are read.

    Raises:
        CatalogError: when a folder cannot be listed, or there is no image at all.
    """
    notes: list[str] = []
    left_out: Counter[str] = Counter()
    rows = list(_folder_rows(root, notes, left_out))
    left_out = Counter(dict(sorted(left_out.items(), key=lambda entry: (-entry[1], entry[0]))))
    notes = [*_left_out_notes(left_out), *notes]
    if not rows and (archives := archives_in(root)):
        return read_archives(archives, root)
    if not rows:
        detail = f" ({notes[0]})" if notes else ""
        raise CatalogError(
            f"no image below {root}{detail}; they may lie in it, in {root}/<domain>/ or in"
            f" {root}/<domain>/<class>/, and are told by their endings: {', '.join(sorted(SUFFIXES))}"
        )
    return Listing(rows, root, notes, dict(left_out))


def read_list(
    path: Place,
    *,
    root: Place | None = None,
    domain: str | None = None,
    class_names: Mapping[int, str] | None = None,
    split: str | None = None,
) -> Listing:
    """Read a list of ``path label`` lines, split at the *last* space (paths may hold spaces).

    Args:
        path: the list file, UTF-8.
        root: folder the paths start from; the list's own folder by default.
        domain: the domain of every line; by default the first part of each path, ``<domain>/...``.
        class_names: number to class name (mind the base: some lists count from 1). Without it the class is the
            folder that holds the image, and the number is not used.
        split: the split of every line.

    Raises:
        CatalogError: naming the line that is wrong: no number, a number without a class name, no domain.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        match = _LIST_LINE.fullmatch(line.strip())
        if match is None:
            raise CatalogError(f"{path} line {number}: expected 'path label' with a whole number, got {line!r}")
        file = Path(match["name"])
        if domain is None and (file.is_absolute() or len(file.parts) < 2):
            raise CatalogError(
                f"{path} line {number}: {match['name']!r} does not start with a domain's folder; give the domain"
            )
        label = _list_label(file, int(match["label"]), class_names, has_domain=domain is None)
        if class_names is not None and label is None:
            known = f"{min(class_names)} to {max(class_names)}" if class_names else "none"
            raise CatalogError(f"{path} line {number}: label {match['label']} has no class name (known: {known})")
        rows.append({"path": file.as_posix(), "domain": domain or file.parts[0], "label": label, "split": split})
    if not rows:
        raise CatalogError(f"{path} lists no image")
    return Listing(rows, root or path.parent, file=path)


def read_class_numbers(path: Place) -> dict[int, str]:
    """Read ``class number`` lines, split at the last space: what ``read_list`` takes as ``class_names``.

    Raises:
        CatalogError: naming the line without a number, or whose number already stands for another class.
    """
    names: dict[int, str] = {}
    for position, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        match = _LIST_LINE.fullmatch(line.strip())
        if match is None:
            raise CatalogError(f"{path} line {position}: expected 'class number', got {line!r}")
        number = int(match["label"])
        if number in names:
            raise CatalogError(f"{path} line {position}: the number {number} already stands for {names[number]}")
        names[number] = match["name"]
    if not names:
        raise CatalogError(f"{path} names no class")
    return names


def _read_lines(path: Place) -> list[str]:
    """The lines of a UTF-8 text file; only a line feed ends one, so any other character may occur in a name.

    Raises:
        CatalogError: when the file cannot be read or is no UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error


def list_images(folder: Place, notes: list[str], left_out: Counter[str] | None = None) -> Iterator[PurePath]:
    """Every image file below ``folder``, relative to it, sorted by name within each folder.

    Args:
        folder: where to look.
        notes: takes a sentence on what is left out.
        left_out: counts pictures and films that are left out, by suffix; noted too where there is none.

    Links are followed; a link back to a folder that holds it, a broken link, a file that is no image and a name
    that is no UTF-8 are left out and noted, one sentence a folder. Names that start with a dot are skipped, and
    so are ``_SYSTEM_FOLDERS``, with one sentence about all of them. In object storage names alone are looked at: a
    picture that is not called like one is left out without a word of its content.

    Raises:
        CatalogError: when a folder cannot be listed.
    """
    of_systems: list[PurePath] = []
    if isinstance(folder, Remote):
        yield from _list_objects(folder, notes, of_systems, left_out)
    else:
        yield from _walk(folder, Path(), frozenset(), notes, of_systems, left_out)
    if of_systems:
        some = ", ".join(map(str, of_systems[:3])) + (", ..." if len(of_systems) > 3 else "")
        notes.append(
            f"{len(of_systems)} folder(s) in {folder} were left out, being a system's own (recycle bin,"
            f" thumbnails): {some}"
        )


def _list_objects(
    folder: Remote, notes: list[str], of_systems: list[PurePath], counted: Counter[str] | None
) -> Iterator[PurePosixPath]:
    """As ``_walk``, of the objects below a prefix."""
    found, others, systems = [], [], set()
    for place, state in folder.walk():
        path = place.relative_to(folder)
        hidden = [n for n, step in enumerate(path.parts) if is_system_folder(step)]
        if hidden:
            if not path.parts[hidden[0]].startswith("."):
                systems.add(PurePosixPath(*path.parts[: hidden[0] + 1]))
            continue
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            found.append(path)
        elif counted is not None and (suffix in UNREAD_SUFFIXES or suffix in FILM_SUFFIXES):
            counted[suffix] += 1
        elif state.size:
            others.append(path)
    of_systems.extend(sorted(systems))
    if others:
        some = ", ".join(ascii(str(path))[1:-1] for path in others[:3]) + (", ..." if len(others) > 3 else "")
        notes.append(f"{len(others)} file(s) below {folder} were left out, being no images: {some}")
    yield from sorted(found, key=lambda path: [(nfc(step), step) for step in path.parts])


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name is a system's own, not the user's: hidden, or one of ``_SYSTEM_FOLDERS``."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS


def _walk(
    folder: Path,
    relative: Path,
    above: frozenset[str],
    notes: list[str],
    of_systems: list[PurePath],
    counted: Counter[str] | None,
) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        notes.append(f"{folder} was left out: it is a link to a folder that holds it")
        return
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: (nfc(entry.name), entry.name))
    except OSError as error:
        raise CatalogError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    left_out: dict[str, list[str]] = {}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        kind = _kind(entry)
        if kind == "folder" and is_system_folder(entry.name):
            of_systems.append(relative / entry.name)
        elif kind == "folder":
            below = above | {real}
            yield from _walk(folder / entry.name, relative / entry.name, below, notes, of_systems, counted)
        elif kind == "image":
            yield relative / entry.name
        elif kind == _UNREAD and counted is not None:
            counted[_suffix(entry.name) or _NO_SUFFIX] += 1
        else:
            left_out.setdefault(kind, []).append(entry.name)
    for kind, names in left_out.items():
        some = ", ".join(ascii(name)[1:-1] for name in names[:3]) + (", ..." if len(names) > 3 else "")
        notes.append(f"{len(names)} file(s) in {folder} were left out, being {kind}: {some}")


def _kind(entry: os.DirEntry[str]) -> str:
    """``folder``, ``image``, or in words why the entry is neither."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "named in an encoding other than UTF-8"
    try:
        if entry.is_dir():
            return "folder"
        # Only regular files: opening a pipe or a device that is named like an image would wait for ever.
        if entry.is_file():
            suffix = _suffix(entry.name)
            if suffix in SUFFIXES:
                return "image"
            unread = suffix in UNREAD_SUFFIXES or suffix in FILM_SUFFIXES or _begins_as_picture(entry.path)
            return _UNREAD if unread else "no images"
    except OSError:  # a link to itself
        return "broken links"
    return "broken links" if entry.is_symlink() else "no regular files"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _begins_as_picture(path: str) -> bool:
    if _suffix(path) in _TEXTS:
        return False
    try:
        with open(path, "rb") as file:
            return format_of(file.read(HEAD)) is not None
    except OSError:
        return False


def _left_out_notes(left_out: Counter[str]) -> Iterator[str]:
    """What was left out and is a picture or a film, a sentence for each reason."""
    otherwise = left_out.keys() - UNREAD_SUFFIXES - FILM_SUFFIXES
    for suffixes, noun, what, advice in (
        (UNREAD_SUFFIXES, "picture", " of formats that are not read", ""),
        (FILM_SUFFIXES, "film", " beside the pictures", ""),
        (
            otherwise,
            "picture",
            " left out for the ends of their names",
            "; rename them, or list them in a manifest",
        ),
    ):
        counts = [(suffix, left_out[suffix]) for suffix in left_out if suffix in suffixes]
        if counts:
            each = ", ".join(f"{ascii(suffix)[1:-1]} {count}" for suffix, count in counts)
            total = sum(count for _, count in counts)
            yield f"{total} {noun}{'s' if total > 1 else ''}{what}: {each}{advice}"


def _folder_rows(root: Place, notes: list[str], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    nameless: dict[str, str] = {}
    for path in list_images(root, notes, left_out):
        parts = path.parts
        if len(parts) == 1:
            yield {"path": str(path), "domain": name_or(root.resolve().name, "images")}
            continue
        folders = parts[: min(len(parts) - 1, 2)]
        try:
            names = [read_name(folder) for folder in folders]
        except ValueError as error:
            nameless["/".join(folders)] = str(error)
            continue
        yield {"path": path.as_posix(), "domain": names[0], "label": names[1] if len(names) > 1 else None}
    for name, fault in nameless.items():
        notes.append(
            f"the images in {root}/{ascii(name)[1:-1]} were left out: the name of the domain or class {fault}"
        )


def _list_label(file: Path, number: int, class_names: Mapping[int, str] | None, *, has_domain: bool) -> str | None:
    if class_names is not None:
        return class_names.get(number)
    folders = file.parts[1:-1] if has_domain else file.parts[:-1]
    return folders[-1] if folders else None
