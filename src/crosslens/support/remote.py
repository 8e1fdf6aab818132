"""Files in object storage: S3 and what speaks its language, Google Cloud Storage, Azure Blob Storage.

One library reads all three, ``obstore``, over the same Rust crate by which Lance reads tables there, so that both
take the same environment variables. It asks once for an object, where Arrow's file systems ask twice, and spends a
third of the processor's time of boto3; docs/how-to/places.md has the measurements.

An object is written whole or not at all, so nothing half-written is ever seen under a name.
"""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from crosslens.support.errors import CrosslensError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

SCHEMES = ("s3", "gs", "az")
_PART = 1 << 26
"""Bytes of one request of a large object."""
_TRIES = 4
"""Times that an answer is asked for whose body broke off; requests that fail are tried again below, by obstore."""
_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_WAITS = {"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=5)}


class PlaceError(CrosslensError, OSError):
    """A place in object storage that cannot be read or written; the message says what to do."""


class NoObjectError(PlaceError, FileNotFoundError):
    """An object that is not there."""


class ExistingError(PlaceError, FileExistsError):
    """An object that is there already, where a new one was to be written."""


class AccessError(PlaceError, PermissionError):
    """An object that may not be read or written with these credentials."""


class UnreachableError(PlaceError):
    """A whole place that cannot be used: wrong credentials, no such bucket, no answer. Every object would fail."""


class ObjectState(NamedTuple):
    """An object without its content.

    Attributes:
        size: in bytes.
        etag: which content it is; another one after every change.
        modified: when it was written.
    """

    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, order=True)
class Remote:
    """An object, or all objects below a prefix, with the names that ``pathlib.Path`` has for the same things.

    It is no ``Path``, and has no form for ``open``: what needs a file on this machine takes ``local_copy``.

    Attributes:
        scheme: of ``SCHEMES``.
        bucket: or container.
        key: without slashes at its ends; empty for the bucket itself.
    """

    scheme: str
    bucket: str
    key: str = ""

    @classmethod
    def at(cls, scheme: str, rest: str) -> Remote:
        """Of an address without its ``scheme://``.

        Raises:
            PlaceError: when it names no bucket.
        """
        bucket, _, key = rest.partition("/")
        if not bucket:
            raise PlaceError(f"{scheme}:// names no bucket; write {scheme}://BUCKET/FOLDER")
        return cls(scheme, bucket, _tidy(key))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __truediv__(self, path: str | Path) -> Remote:
        return Remote(self.scheme, self.bucket, _tidy(f"{self.key}/{path}"))

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket, with its scheme, and the steps below it."""
        return (f"{self.scheme}://{self.bucket}", *filter(None, self.key.split("/")))

    @property
    def name(self) -> str:
        """The last step; the bucket's name where there is none."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Remote:
        """The folder it lies in; the bucket is its own."""
        return Remote(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> Remote:
        """The same name with another suffix."""
        return self.parent / str(PurePosixPath(self.name).with_suffix(suffix))

    def relative_to(self, other: Remote) -> PurePosixPath:
        """The steps from ``other`` to here.

        Raises:
            ValueError: when it does not lie below.
        """
        if not self.is_relative_to(other):
            raise ValueError(f"{self} does not lie below {other}")
        return PurePosixPath(*self.parts[len(other.parts) :])

    def is_relative_to(self, other: object) -> bool:
        """Whether it is ``other`` or lies below."""
        return isinstance(other, Remote) and self.parts[: len(other.parts)] == other.parts

    def resolve(self) -> Remote:
        """Itself: there are no links."""
        return self

    def mkdir(self, **options: bool) -> None:
        """Nothing: a folder is there as soon as an object lies in it."""

    def state(self) -> ObjectState:
        """Size and content tag of the object.

        Raises:
            PlaceError: when it is not there or cannot be asked for.
        """
        return _state(self._ask(lambda store, key: _obstore().head(store, key)))

    def is_file(self) -> bool:
        """Whether there is an object of this very name."""
        if not self.key:
            return False
        try:
            self.state()
        except NoObjectError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether objects lie below; a bucket counts though it is empty."""
        return not self.key or next(self.walk(chunk=1), None) is not None

    def exists(self) -> bool:
        """Whether there is an object, or one below."""
        return self.is_file() or self.is_dir()

    def read_bytes(self) -> bytes:
        """The whole content, of the length that was promised.

        Raises:
            PlaceError: when it is not there, may not be read, or does not come whole after several tries.
        """

        def whole(store: Any, key: str) -> bytes:
            answer = _obstore().get(store, key)
            content = bytes(answer.bytes())
            if len(content) != answer.meta["size"]:
                raise _ShortError(f"{len(content)} of {answer.meta['size']} bytes came")
            return content

        return self._ask(whole)

    def read_range(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer where the object ends before."""

        def part(store: Any, key: str) -> bytes:
            answer = _obstore().get(store, key, options={"range": (start, start + length)})
            content = bytes(answer.bytes())
            first, end = answer.range
            if len(content) != end - first:
                raise _ShortError(f"{len(content)} of {end - first} bytes came")
            return content

        return self._ask(part)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The content as text."""
        return self.read_bytes().decode(encoding)

    def open(self, block: int = 1 << 20) -> io.BufferedReader | io.RawIOBase:
        """A file to read and seek in, which asks for ``block`` bytes at a time, or with 0 for what is read.

        Raises:
            PlaceError: when it is not there; reading raises it too.
        """
        ranges = _Ranges(self, self.state())
        return io.BufferedReader(ranges, block) if block else ranges

    def write(self, content: bytes | Path, *, new: bool = False) -> None:
        """Write the object, whole or not at all.

        Args:
            content: the bytes, or a file that holds them.
            new: only where there is none yet.

        Raises:
            ExistingError: when there is one, with ``new``.
            PlaceError: when it may not be written.
        """
        mode = "create" if new else "overwrite"
        # A large file goes up in parts, for which there is no "create"; it appears when all are there.
        large = isinstance(content, Path) and content.stat().st_size > _PART
        if large and new and self.is_file():
            raise ExistingError(f"{self} is there already")
        self._ask(lambda store, key: _obstore().put(store, key, content, **({} if large else {"mode": mode})))

    def download(self, target: Path, size: int) -> None:
        """Write the content to a new file of this machine, in parts.

        Raises:
            PlaceError: when it cannot be read.
        """
        with open(target, "wb") as file:
            for start in range(0, size, _PART):
                file.write(self.read_range(start, min(_PART, size - start)))
            if file.tell() != size:
                raise PlaceError(f"{self} changed while it was read; try again")

    def unlink(self, missing_ok: bool = True) -> None:
        """Delete the object; a missing one is fine."""
        self._ask(lambda store, key: _obstore().delete(store, key))

    def walk(self, chunk: int = 1000) -> Iterator[tuple[Remote, ObjectState]]:
        """Every object below, in the order of keys.

        Raises:
            PlaceError: when the bucket is not there or may not be listed.
        """
        pages = self._ask(lambda store, key: _obstore().list(store, key or None, chunk_size=chunk))
        while page := self._ask(lambda store, key: next(pages, None)):
            for meta in page:
                yield Remote(self.scheme, self.bucket, meta["path"]), _state(meta)

    def iterdir(self) -> Iterator[Remote]:
        """What lies directly below: objects, and folders that hold some."""
        found = self._ask(lambda store, key: _obstore().list_with_delimiter(store, key or None))
        names = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        yield from sorted(Remote(self.scheme, self.bucket, _tidy(name)) for name in names)

    def glob(self, pattern: str) -> Iterator[Remote]:
        """What lies directly below and is called like ``pattern``."""
        yield from (one for one in self.iterdir() if PurePosixPath(one.name).match(pattern))

    def _ask(self, request: Callable[[Any, str], T]) -> T:
        store = _store(self.scheme, self.bucket, os.getpid())
        for attempt in range(1, _TRIES + 1):
            try:
                return request(store, self.key)
            except Exception as error:
                if attempt == _TRIES or not _broke_off(error):
                    raise self._explained(error) from error
                time.sleep(random.uniform(0.5, 1) * 0.2 * 2**attempt)
        raise AssertionError

    def _explained(self, error: Exception) -> PlaceError:
        """What obstore raises, as what is wrong and what to do."""
        text = str(error)
        told = text.partition("\n\nDebug source")[0]
        bucket = f"{self.scheme}://{self.bucket}"
        if any(code in text for code in _NO_BUCKET):
            return UnreachableError(
                f"{self}: there is no bucket {self.bucket!r}; check its name, and the region and endpoint in the"
                f" environment ({_VARIABLES[self.scheme]})"
            )
        if isinstance(error, FileExistsError) or type(error).__name__ in (
            "AlreadyExistsError",
            "PreconditionError",
        ):
            return ExistingError(f"{self} is there already")
        if isinstance(error, FileNotFoundError):
            return NoObjectError(f"{self} does not exist")
        if any(code in text for code in _WRONG_KEYS) or type(error).__name__ == "UnauthenticatedError":
            return UnreachableError(
                f"{self}: the credentials are wrong, or there are none; set those that may use {bucket}"
                f" ({_VARIABLES[self.scheme]})"
            )
        if isinstance(error, PermissionError) or type(error).__name__ == "PermissionDeniedError":
            return AccessError(
                f"{self}: these credentials may not do that; ask for the right to it, or give others"
                f" ({_VARIABLES[self.scheme]})"
            )
        if isinstance(error, ValueError) and "parse path" in text:
            return NoObjectError(f"{self} cannot be the name of an object: {told}")
        if any(sign in text.lower() for sign in _NOBODY):
            return UnreachableError(
                f"{self}: nothing answers for {bucket}; check the network, and the endpoint and region in the"
                f" environment ({_VARIABLES[self.scheme]}): {_brief(told)}"
            )
        if _broke_off(error) or "error sending request" in text or "timeout" in text.lower() or "(5" in text:
            return PlaceError(f"{self} cannot be read or written after several tries: {_brief(told)}")
        return PlaceError(f"{self}: {_brief(told)}")


class _Ranges(io.RawIOBase):
    """An object as a file: each read is a request for a range."""

    def __init__(self, place: Remote, state: ObjectState) -> None:
        self._place, self._size, self._at = place, state.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = 0) -> int:
        self._at = position + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._at))
        content = self._place.read_range(self._at, wanted) if wanted else b""
        if len(content) != wanted:
            raise PlaceError(f"{self._place} changed while it was read; try again")
        buffer[:wanted] = content
        self._at += wanted
        return wanted


class _ShortError(OSError):
    """An answer that is shorter than was promised."""


_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_WRONG_KEYS = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthenticationFailed"),
    *("credential", "UnrecognizedClientException", "InvalidClientTokenId", "UnauthorizedAccess"),
    # Where nothing says who asks, the machine's own service is asked, which only machines of these clouds have.
    *("169.254.169.254", "metadata.google.internal"),
)
_NOBODY = ("client error (connect)", "tcp connect error", "connection refused", "dns error")
_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}
_BROKEN = ("request or response body error", "error decoding response body", "connection closed", "IncompleteBody")


def _broke_off(error: Exception) -> bool:
    return isinstance(error, _ShortError) or any(sign in str(error) for sign in _BROKEN)


def _brief(text: str) -> str:
    return " ".join(text.split())[:400]


def _tidy(key: str) -> str:
    return "/".join(step for step in key.split("/") if step and step != ".")


def _state(meta: Any) -> ObjectState:
    return ObjectState(meta["size"], (meta["e_tag"] or "").strip('"'), meta["last_modified"])


def _obstore() -> Any:
    try:
        import obstore
    except ImportError as error:
        raise PlaceError("object storage needs one package more: pip install 'crosslens[cloud]'") from error
    return obstore


@lru_cache(maxsize=64)
def _store(scheme: str, bucket: str, process: int) -> ObjectStore:
    """The client of a bucket, one for each process: its threads do not survive a fork."""
    _obstore()
    from obstore.store import from_url

    settings: dict[str, Any] = {}
    options: dict[str, Any] = dict(_WAITS)
    if scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        if endpoint:
            settings["endpoint"] = endpoint
        if endpoint.startswith("http://"):
            options["allow_http"] = True
        if "AWS_ACCESS_KEY_ID" not in os.environ:
            settings |= _of_profile()
    try:
        opened: Any = from_url  # Its types know the names of settings, not a dictionary of them.
        store: ObjectStore = opened(
            f"{scheme}://{bucket}", client_options=options, retry_config=_RETRIES, **settings
        )
    except Exception as error:
        raise UnreachableError(
            f"{scheme}://{bucket} cannot be opened: {_brief(str(error))}; set {_VARIABLES[scheme]}"
        ) from error
    return store


def _of_profile() -> dict[str, Any]:
    """Credentials and region of ``~/.aws`` and single sign-on, which obstore leaves to boto3."""
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider

        session = boto3.Session()
        if session.get_credentials() is None:
            return {}
        region = {} if session.region_name is None else {"region": session.region_name}
        return {"credential_provider": Boto3CredentialProvider(session), **region}
    except ImportError:
        return {}


def lance_options(scheme: str) -> dict[str, str]:
    """What Lance must be told to read the same bucket; the rest it takes from the environment itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    if scheme != "s3" or not endpoint:
        return {}
    return {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
