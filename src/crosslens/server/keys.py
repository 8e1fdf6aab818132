"""API keys: a file of names, roles and hashes. A key itself is shown once, when it is made, and kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crosslens.support.addresses import path_here
from crosslens.support.errors import ConfigError
from crosslens.support.file_stamp import FileStamp, stamp_of
from crosslens.support.files import atomic_path, read_json

Role = Literal["read", "write"]
_KEY = re.compile(r"cl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


class KeyEntry(BaseModel):
    """One key, without the key.

    Attributes:
        id: the public part of the key.
        name: who it was made for.
        role: ``read`` searches, ``write`` also adds and deletes.
        salt: hexadecimal, 16 bytes.
        hash: SHA-256 of salt and key. The secret part is 256 random bits, so that a slow hash would add nothing.
        created: when it was made, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=100)
    role: Role
    salt: str = Field(pattern="^[0-9a-f]{32}$")
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    created: str

    def matches(self, key: str) -> bool:
        """Whether this is the entry of ``key``, in constant time."""
        return hmac.compare_digest(_hash(self.salt, key), self.hash)


class KeyFile(BaseModel):
    """The content of a key file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    keys: tuple[KeyEntry, ...] = ()


_NOBODY = KeyEntry(id="0" * 12, name="nobody", role="read", salt="0" * 32, hash="0" * 64, created="")


class Keys:
    """The keys of a file, read again when the file changes, so that a removed key stops working at once.

    Raises:
        ConfigError: when the file is missing, damaged or holds no key.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._entries: dict[str, KeyEntry] = {}
        self._stamp: FileStamp | None = None
        self._looked = -1.0
        self._take(read_keys(file))
        if not self._entries:
            raise ConfigError(f"{file} holds no key; make one with 'crosslens serve keys add NAME --file {file}'")

    def find(self, key: str) -> KeyEntry | None:
        """The entry of a key as a client sent it; None for a wrong one."""
        self._refresh()
        parts = _KEY.fullmatch(key)
        entry = self._entries.get(parts.group(1)) if parts else None
        # An unknown id takes as long as a known one.
        right = (entry or _NOBODY).matches(key)
        return entry if right else None

    def _refresh(self, every: float = 1.0) -> None:
        now = time.monotonic()
        if now - self._looked < every:
            return
        self._looked = now
        try:
            if stamp_of(self.file) != self._stamp:
                self._take(read_keys(self.file))
        except (OSError, ConfigError):
            # Without a readable file nobody can be told apart; nobody is let in.
            self._entries, self._stamp = {}, None

    def _take(self, content: KeyFile) -> None:
        self._stamp = stamp_of(self.file)
        self._entries = {entry.id: entry for entry in content.keys}


def read_keys(file: Path) -> KeyFile:
    """Read a key file.

    Raises:
        ConfigError: when it is missing or damaged.
    """
    try:
        return KeyFile.model_validate(read_json(file, ConfigError))
    except ValidationError as error:
        raise ConfigError(f"{file} is no key file: {error.error_count()} values are wrong") from error


def add_key(file: Path, name: str, role: Role) -> str:
    """Make a key and write its hash to ``file``, which is made when missing and readable by its owner alone.

    Returns:
        The key; it cannot be shown again.

    Raises:
        ConfigError: for a name that has a key already, or is empty or too long.
    """
    public, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key, salt = f"cl_{public}_{secret}", secrets.token_hex(16)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        entry = KeyEntry(id=public, name=name, role=role, salt=salt, hash=_hash(salt, key), created=created)
    except ValidationError as error:
        raise ConfigError(f"a key cannot be made for {name!r} as {role!r}: names have 1 to 100 letters") from error
    with _changing(file):
        held = read_keys(file) if file.exists() else KeyFile()
        if any(other.name == name for other in held.keys):
            raise ConfigError(f"{name!r} has a key in {file}; remove it first, or take another name")
        _write(file, KeyFile(keys=(*held.keys, entry)))
    return key


def remove_key(file: Path, name: str) -> None:
    """Remove the key of ``name``; running servers refuse it within a second.

    Raises:
        ConfigError: when there is none.
    """
    with _changing(file):
        held = read_keys(file)
        left = tuple(entry for entry in held.keys if entry.name != name)
        if len(left) == len(held.keys):
            names = ", ".join(entry.name for entry in held.keys) or "nobody"
            raise ConfigError(f"{file} holds no key of {name!r}; it holds those of {names}")
        _write(file, KeyFile(keys=left))


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + key.encode()).hexdigest()


def _write(file: Path, content: KeyFile) -> None:
    with atomic_path(file) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(content.model_dump_json(indent=2) + "\n")


@contextmanager
def _changing(file: Path) -> Iterator[None]:
    """One change of a key file at a time."""
    path_here(file).absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{file}.lock", timeout=10):
            yield
    except Timeout:
        raise ConfigError(f"another process is changing {file}; try again") from None
