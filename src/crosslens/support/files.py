"""Writing files so that a killed process or a full disk never leaves half a file under its final name."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from crosslens.support.addresses import Place, place_of
from crosslens.support.errors import CrosslensError
from crosslens.support.remote import PlaceError, Remote
from crosslens.support.utf8 import is_utf8

_TENSORS = ".safetensors"


@contextmanager
def atomic_path(target: Place, *, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success fsync it and rename it over ``target``.

    On any exception the temporary file or folder is removed and ``target`` is left as it was. A link is followed;
    a device, a pipe or an open stream (``/dev/stdout``) takes the bytes as they come. Of a folder in object
    storage, also where a ``Path`` holds its address, the files at its top come last: each says of its kind that
    the rest is whole.

    Args:
        target: a file or folder.
        new: a file in object storage is written only where there is none, which keeps two machines apart; a lock
            does that on one.

    Raises:
        CrosslensError: when the disk is full or the folder cannot be written.
    """
    target = place_of(target)
    if isinstance(target, Remote):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / target.name
            yield temporary
            upload(temporary, target, new=new)
        return
    if _is_stream(target):
        with _copy_afterwards(target) as temporary:
            yield temporary
        return
    target = Path(os.path.realpath(target))
    temporary = target.parent / f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _let_others_read(temporary, target.suffix)
        if temporary.is_dir():
            _replace_folder(temporary, target)
        else:
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, target)
        _sync_folder(target.parent)
    except Exception as error:
        reason = _fault_of_system(error)
        if reason is None:
            raise
        raise CrosslensError(f"could not write {target}: {reason}") from error
    finally:
        # What stopped the writing may stop this too; the first reason is the one to tell.
        with suppress(OSError):
            remove(temporary)


def _fault_of_system(error: Exception) -> str | None:
    """What the system refused, in its words; None where an exception says nothing of it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # Writers in Rust, such as that of safetensors, raise exceptions of their own.
    told = None if isinstance(error, CrosslensError) else re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(told[1])) if told else None


def upload(source: Path, target: Remote, *, new: bool = False) -> None:
    """Write a file, or all files of a folder, to object storage; those at the top of a folder come last.

    Files whose name starts with a dot, such as locks, are left out.

    Raises:
        CrosslensError: when it cannot be written.
    """
    if source.is_file():
        target.write(source, new=new)
        return
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    for file in sorted(files, key=lambda file: file.parent == source):
        (target / file.relative_to(source).as_posix()).write(file)


def _is_stream(target: Path) -> bool:
    """Whether bytes go through the target, not into it. An open stream may well lead to a file."""
    followed = target
    for _ in range(40):
        if Path(os.path.abspath(followed)).is_relative_to("/proc"):
            return True
        if not followed.is_symlink():
            break
        followed = followed.parent / os.readlink(followed)
    return followed.exists() and not (followed.is_file() or followed.is_dir())


@contextmanager
def _copy_afterwards(target: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / target.name
        yield temporary
        try:
            # At the end, in case the stream leads to a file that holds something.
            with open(target, "ab") as stream:
                stream.write(temporary.read_bytes())
        except OSError as error:
            raise CrosslensError(f"could not write {target}: {error.strerror or error}") from error


def write_text(target: Place, text: str) -> None:
    """Write ``text`` to ``target`` atomically (UTF-8)."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Place, value: Any) -> None:
    """Write ``value`` to ``target`` atomically as indented JSON; NaN and infinity are refused.

    Letters stand as they are; text that is no UTF-8, such as a path with other bytes, makes all of it ASCII.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if not is_utf8(text):
        text = json.dumps(value, indent=2, allow_nan=False)
    write_text(target, text + "\n")


def read_json(path: Place, error: type[CrosslensError] = CrosslensError) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CrosslensError: (or the subclass given) when the file is missing, unreadable or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path} is missing") from None
    except PlaceError:
        # It says itself what is wrong, and nothing of the file.
        raise
    except (OSError, ValueError) as cause:
        raise error(f"{path} cannot be read as JSON: {cause}") from cause
    if not isinstance(value, dict):
        raise error(f"{path} must hold a JSON object, not {type(value).__name__}")
    return cast(dict[str, Any], value)


def read_yaml(
    file: Path, error: type[CrosslensError] = CrosslensError, *, as_text: bool = False
) -> dict[str, Any]:
    """Read a YAML or JSON file of key: value pairs.

    Args:
        file: to read.
        error: the kind of error to raise.
        as_text: take every value as it is written, so that 007 and no are texts.

    Raises:
        CrosslensError: (or the subclass given) when the file is missing, unreadable or holds anything else.
    """
    import yaml

    try:
        value = yaml.load(file.read_text(encoding="utf-8-sig"), yaml.BaseLoader if as_text else yaml.SafeLoader)
    except FileNotFoundError:
        raise error(f"{file} is missing") from None
    except yaml.MarkedYAMLError as cause:
        line = cause.problem_mark.line + 1 if cause.problem_mark else 1
        raise error(f"{file} cannot be read as YAML: {cause.problem} in line {line}") from cause
    except (OSError, ValueError, yaml.YAMLError) as cause:
        raise error(f"{file} cannot be read as YAML: {cause}") from cause
    if not isinstance(value, dict):
        raise error(f"{file} must hold key: value pairs")
    return value


def require_known_format(
    description: Mapping[str, Any], place: Place, newest: int, error: type[CrosslensError]
) -> None:
    """Check the number under ``format`` in a description that crosslens wrote; without one it counts as 0.

    Raises:
        CrosslensError: (the subclass given) when it is no number, or larger than the ``newest`` that is read here.
    """
    found = description.get("format", 0)
    if not isinstance(found, int) or isinstance(found, bool):
        raise error(f"{place} is damaged: its format is {found!r}, which is no whole number")
    if found > newest:
        raise error(f"{place} was written by a newer crosslens (format {found}); upgrade to read it")


def remove(path: Place) -> None:
    """Remove a file or a folder with all it holds; a missing one is fine."""
    if isinstance(path, Remote):
        for below, _ in list(path.walk()):
            below.unlink()
        path.unlink()
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _let_others_read(written: Path, suffix: str) -> None:
    """Give tensor files, which safetensors writes for their owner alone, the mode that new files have here.

    A server often runs as another user than who built what it serves. Whatever else is private was meant to be.
    """
    if written.is_file():
        tensors = [written] if suffix == _TENSORS else []
    else:
        tensors = [file for file in written.rglob(f"*{_TENSORS}") if file.is_file() and not file.is_symlink()]
    private = [file for file in tensors if stat.S_IMODE(file.stat().st_mode) == 0o600]
    if not private:
        return
    usual = written.with_name(f"{written.name}.mode")
    os.close(os.open(usual, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    mode = stat.S_IMODE(usual.stat().st_mode)
    usual.unlink()
    for file in private:
        file.chmod(mode)


def _replace_folder(new: Path, target: Path) -> None:
    for file in new.rglob("*"):
        if file.is_file():
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())
    if not target.exists():
        os.rename(new, target)
        return
    # A folder cannot be renamed over a full one: park the old one, so one of the two always exists.
    parked = target.parent / f".{target.name}.{secrets.token_hex(4)}.old"
    os.rename(target, parked)
    try:
        os.rename(new, target)
    except OSError:
        os.rename(parked, target)
        raise
    remove(parked)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
