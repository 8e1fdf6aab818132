"""Past one machine: items in a Milvus collection, on a server or in one file (Milvus Lite).

    I/milvus.json    a number that rises with every change, so that readers see that something changed

``milvus:FILE.db`` needs pymilvus and milvus-lite; ``milvus:http://HOST:19530`` needs pymilvus and a server, whose
credentials are taken from the environment each time and never written down.
``#NAME`` behind the address is an alias by which other programs find the collection: it stays where it is while a
new version is built beside, and goes over in one step (``index switch``). The domain is the partition key, so a
filter by domain looks at that domain's partition alone. A change of more rows than one message holds is several
messages: on this store alone, such a change may be kept in part when the process dies in the middle of it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from crosslens.search.filters.conditions import And, BaseFilter, Eq, Filter, In, Not, Or, Own, Prefix, Range, Value
from crosslens.search.filters.own import write_own
from crosslens.search.stores.base import ITEM_SCHEMA, Nearest, StoreContext, missing_item
from crosslens.search.stores.scoring import best, exact_top, rescored
from crosslens.search.stores.snapshot import gather, write_pair
from crosslens.support.errors import FingerprintError, StoreError
from crosslens.support.files import read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

FILE = "milvus.db"
COUNTER = "milvus.json"
_WINDOW = 16_384
"""Most rows that Milvus gives at once."""
_MESSAGE = 2**24
_LONGEST = 65_535
_PRINT = "crosslens.fingerprint"
TOKEN = "CROSSLENS_MILVUS_TOKEN"
"""Variable with the token of a server: ``USER:PASSWORD``, or an API key."""
_CERTIFICATE = "CROSSLENS_MILVUS_CERTIFICATE"
"""Variable with a PEM file, the certificate of a server whose authority this machine does not know."""


class MilvusStore:
    """Items in a Milvus collection of the index's own."""

    kind = "milvus"
    entries = frozenset({COUNTER, FILE})

    def __init__(self, context: StoreContext, client: Any, uri: str) -> None:
        self._context = context
        self._client = client
        self._uri = uri
        with _store_errors(uri):
            fields = {field["name"] for field in client.describe_collection(context.name)["fields"]}
        self._columns = [name for name in ITEM_SCHEMA.names if name in fields]
        self._number = self._newest()

    @classmethod
    def create(cls, context: StoreContext) -> Self:
        """Make an empty collection.

        Raises:
            StoreError: when the server cannot be reached, or pymilvus is not installed.
        """
        client, uri = _connect(context)
        with _store_errors(uri):
            if client.has_collection(context.name):
                # A server drops no collection that an alias names.
                for alias in client.list_aliases(context.name)["aliases"]:
                    client.drop_alias(alias)
                client.drop_collection(context.name)
            _make_collection(client, context, uri)
        write_json(_counter(context), {"changes": 0})
        made = cls(context, client, uri)
        if not made._holder_of_alias():
            made.publish()
        return made

    @classmethod
    def open(cls, context: StoreContext) -> Self:
        """Open the collection.

        Raises:
            StoreError: when it is not there, the server cannot be reached, or pymilvus is not installed.
            FingerprintError: when it holds vectors of another embedding.
        """
        client, uri = _connect(context)
        with _store_errors(uri):
            if not client.has_collection(context.name):
                raise StoreError(
                    f"{uri} has no collection {context.name}; build the index again with 'crosslens index build'"
                )
            about = client.describe_collection(context.name)
            client.load_collection(context.name)
        digest = about.get("properties", {}).get(_PRINT) or about.get("description", "").rpartition(" ")[2]
        if digest and digest != context.fingerprint:
            raise FingerprintError(
                f"the collection {context.name} in {uri} holds vectors of another embedding ({digest}, not"
                f" {context.fingerprint}); build the index again with 'crosslens index build ROOT --encoder E'"
            )
        return cls(context, client, uri)

    def upsert(self, items: pa.Table, vectors: Array) -> None:
        """Add or replace n items with their vectors ``(n, d)``."""
        step = max(1, _MESSAGE // (4 * self._context.dim + 1000))
        rows = items.to_pylist()
        with self._changing():
            for start in range(0, len(rows), step):
                part = zip(rows[start : start + step], vectors[start : start + step], strict=True)
                data = [{"key": _key(row["id"]), **self._entity(row), "vector": vector} for row, vector in part]
                self._client.upsert(self._context.name, data)

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items by id or filter; says how many."""
        expression = compile_filter(which) if isinstance(which, BaseFilter) else _among(which)
        count = self._count(expression)
        if count:
            with self._changing():
                self._client.delete(self._context.name, filter=expression)
        return count

    def search(self, queries: Array, k: int, where: Filter | None = None, exact: bool = False) -> list[Nearest]:
        """The k best items of each query ``(Q, d)`` among those that match ``where``."""
        if k >= _WINDOW or (exact and not self._is_flat):
            return self._scored_here(queries, k, where)
        return [self._search_one(query, k, "" if where is None else compile_filter(where)) for query in queries]

    def get(self, ids: Sequence[str]) -> tuple[pa.Table, Array]:
        """Items and vectors in the order asked.

        Raises:
            StoreError: naming the first id that is not there.
        """
        by_id: dict[str, dict[str, Any]] = {}
        wanted = list(dict.fromkeys(ids))
        with _store_errors(self._uri):
            for start in range(0, len(wanted), _WINDOW // 4):
                part = wanted[start : start + _WINDOW // 4]
                for row in self._client.query(
                    self._context.name, filter=_among(part), output_fields=self._fields, limit=len(part)
                ):
                    by_id[row["id"]] = row
        for image in ids:
            if image not in by_id:
                raise missing_item(image, self._context.folder)
        return _table([by_id[image] for image in ids], self._context.dim)

    def count(self, where: Filter | None = None) -> int:
        """How many items there are, or match."""
        return self._count("" if where is None else compile_filter(where))

    def scan(
        self, where: Filter | None = None, vectors: bool = False, batch: int = 8192
    ) -> Iterator[tuple[pa.Table, Array | None]]:
        """All items, or those that match. A change meanwhile may be seen in part."""
        with _store_errors(self._uri):
            rows = self._client.query_iterator(
                self._context.name,
                batch_size=min(batch, _WINDOW // 4),
                filter="" if where is None else compile_filter(where),
                output_fields=self._fields if vectors else self._columns,
            )
            while part := rows.next():
                items, numbers = _table(part, self._context.dim)
                yield items, numbers if vectors else None
            rows.close()

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all items; a change meanwhile may be seen in part."""
        if not self.keeps(name):
            return pa.chunked_array([pa.nulls(self.count(), ITEM_SCHEMA.field(name).type)])
        with _store_errors(self._uri):
            rows = self._client.query_iterator(
                self._context.name, batch_size=_WINDOW // 4, filter="", output_fields=[name]
            )
            parts: list[list[Any]] = []
            while part := rows.next():
                parts.append([row[name] for row in part])
            rows.close()
        return pa.chunked_array(parts, ITEM_SCHEMA.field(name).type)

    def optimize(self) -> dict[str, Any]:
        """Write what is in memory and ask for compaction; Milvus does the rest by itself."""
        with _store_errors(self._uri):
            self._client.flush(self._context.name)
            if "://" in self._uri:
                self._client.compact(self._context.name)
        return self.stats()

    def quicken(self) -> None:
        """Nothing: Milvus answers."""

    def publish(self) -> None:
        """Point the alias, where one was given, to this collection, in one step."""
        alias = self._alias
        if alias is None:
            return
        with _store_errors(self._uri):
            if self._holder_of_alias():
                self._client.alter_alias(self._context.name, alias)
            else:
                self._client.create_alias(self._context.name, alias)

    def refresh(self) -> bool:
        """Whether something changed; what is read is always the newest."""
        newest = self._newest()
        changed, self._number = newest != self._number, newest
        return changed

    @property
    def version(self) -> str:
        """The number of changes made."""
        return str(self._number)

    def stats(self) -> dict[str, Any]:
        """Kind, address and structure."""
        structure = "exact" if self._is_flat else "chosen by Milvus"
        told = {"kind": self.kind, "structure": structure, "uri": self._uri, "collection": self._context.name}
        alias = self._alias
        return told if alias is None else {**told, "alias": alias, "alias_is": self._holder_of_alias()}

    def snapshot(self, target: Path) -> None:
        """Write all items to a new folder."""
        write_pair(target, *gather(self.scan(vectors=True), self._context.dim))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def keeps(self, column: str) -> bool:
        """Not the newer ones in an older collection: Milvus Lite gives no column to one that is there."""
        return column in self._columns

    def _entity(self, row: dict[str, Any]) -> dict[str, Any]:
        entity = {name: row[name] for name in self._columns}
        if entity.get("own") is not None:
            entity["own"] = json.loads(entity["own"])
        return entity

    @property
    def _alias(self) -> str | None:
        alias: str | None = self._context.settings.get("alias")
        return alias

    def _holder_of_alias(self) -> str:
        """The collection that the alias names; empty where it names none, or there is no alias."""
        alias = self._alias
        if alias is None:
            return ""
        with _store_errors(self._uri):
            if alias not in self._client.list_aliases()["aliases"]:
                return ""
            return str(self._client.describe_alias(alias)["collection_name"])

    @property
    def _fields(self) -> list[str]:
        return [*self._columns, "vector"]

    @property
    def _is_flat(self) -> bool:
        return "://" not in self._uri

    def _search_one(self, query: Array, k: int, expression: str) -> Nearest:
        limit = min(k + 8, _WINDOW)
        while True:
            with _store_errors(self._uri):
                hits = self._client.search(
                    self._context.name,
                    data=query[None],
                    limit=limit,
                    filter=expression,
                    output_fields=self._fields,
                )[0]
            items, vectors = _table([hit["entity"] for hit in hits], self._context.dim)
            scores = rescored(query, vectors)
            rows, ranked = best(np.arange(len(scores)), scores, k, _names(items))
            # Rows equal to the last result may lie beyond the limit; ask for more until they do not.
            if len(hits) < limit or limit == _WINDOW or ranked[-1] > scores.min():
                return Nearest(items, rows, ranked)
            limit = min(4 * limit, _WINDOW)

    def _scored_here(self, queries: Array, k: int, where: Filter | None) -> list[Nearest]:
        items, vectors = gather(self.scan(where, vectors=True), self._context.dim)
        nearest = exact_top(queries, vectors, k, names=_names(items))
        return [Nearest(items, rows, scores) for rows, scores in nearest]

    def _count(self, expression: str) -> int:
        with _store_errors(self._uri):
            rows = self._client.query(self._context.name, filter=expression, output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    @contextmanager
    def _changing(self) -> Iterator[None]:
        # Counted before and after: a reader that looks in between must look again.
        for number in (1, 2):
            if number == 2:
                with _store_errors(self._uri):
                    yield
            self._number = self._newest() + 1
            write_json(_counter(self._context), {"changes": self._number})

    def _newest(self) -> int:
        return int(read_json(_counter(self._context), StoreError)["changes"])


def compile_filter(where: Filter) -> str:
    """A filter as a Milvus expression that is never null."""
    match where:
        case And():
            return "(" + " and ".join(map(compile_filter, where.filters)) + ")"
        case Or():
            return "(" + " or ".join(map(compile_filter, where.filters)) + ")"
        case Not():
            return f"(not {compile_filter(where.filter)})"
        case Eq() if len(where.stored) == 1:
            return _known(where.field, f"{where.field} == {_literal(where.value)}")
        case Eq() | In():
            if not where.stored:
                return '(key == "")'
            return _known(where.field, f"{where.field} in [{', '.join(map(_literal, where.stored))}]")
        case Range():
            ends = [f"{where.field} >= {_literal(where.min)}"] if where.min is not None else []
            ends += [f"{where.field} <= {_literal(where.max)}"] if where.max is not None else []
            return _known(where.field, *ends)
        case Prefix():
            return _known(where.field, _starting(where.field, where.stored))
        case Own():
            return _on_own(where)
    raise StoreError(f"Milvus has no language for {where!r}")


def _on_own(where: Own) -> str:
    """A condition on a value of the JSON object, which has no ``in`` here and no way to ask for a part of it."""
    test, name = where.test, f"own[{_literal(where.test.field)}]"
    match test:
        case Eq() | In():
            alike = [
                f"json_contains({name}, {_literal(value)})"
                if where.kind == "list"
                else f"{name} == {_literal(value)}"
                for value in test.stored
            ]
            conditions = [f"({' or '.join(alike)})"] if alike else ['key == ""']
        case Range():
            conditions = [f"{name} >= {_literal(test.min)}"] if test.min is not None else []
            conditions += [f"{name} <= {_literal(test.max)}"] if test.max is not None else []
        case Prefix():
            conditions = [_starting(name, test.stored)]
    return "(" + " and ".join([f"exists {name}", *conditions]) + ")"


def _known(name: str, *conditions: str) -> str:
    nullable = ITEM_SCHEMA.field(name).nullable
    parts = [f"{name} is not null"] if nullable else []
    return "(" + " and ".join([*parts, *conditions] or ['key != ""']) + ")"


def _starting(name: str, starts: Sequence[str]) -> str:
    alike = [" and ".join(_between(name, start)) for start in starts]
    return alike[0] if len(alike) == 1 else "(" + " or ".join(f"({one})" for one in alike) + ")"


def _between(name: str, start: str) -> list[str]:
    """Texts that start so lie between it and the next text that does not; ``like`` has letters of its own."""
    ends = [f"{name} >= {_literal(start)}"]
    while start:
        letter = ord(start[-1]) + 1
        # Surrogates are no letters.
        letter = 0xE000 if letter == 0xD800 else letter
        start = start[:-1]
        if letter <= 0x10FFFF:
            return [*ends, f"{name} < {_literal(start + chr(letter))}"]
    return ends


def _literal(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _among(ids: Sequence[str]) -> str:
    return f"key in [{', '.join(_literal(_key(image)) for image in ids)}]"


def _key(image: str) -> str:
    """The primary key of an id: of one length, and without letters that an expression would have to quote."""
    return hashlib.blake2b(image.encode(), digest_size=16).hexdigest()


def _table(rows: Sequence[Any], dim: int) -> tuple[pa.Table, Array]:
    columns = {name: [row.get(name) for row in rows] for name in ITEM_SCHEMA.names}
    columns["own"] = [None if value is None else write_own(value) for value in columns["own"]]
    vectors = [np.asarray(row["vector"], np.float32) for row in rows if row.get("vector") is not None]
    stacked = np.stack(vectors) if vectors else np.empty((0, dim), np.float32)
    return pa.table(columns, schema=ITEM_SCHEMA), stacked


def _names(items: pa.Table) -> Callable[[NDArray[np.int64]], list[str]]:
    return lambda rows: items.column("id").take(pa.array(rows)).to_pylist()


def _make_collection(client: Any, context: StoreContext, uri: str) -> None:
    types = importlib.import_module("pymilvus").DataType
    description = f"crosslens index, fingerprint {context.fingerprint}"
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("key", types.VARCHAR, is_primary=True, max_length=32)
    for column in ITEM_SCHEMA:
        if column.name == "own":
            schema.add_field(column.name, types.JSON, nullable=True)
        elif column.type == pa.string():
            schema.add_field(
                column.name,
                types.VARCHAR,
                max_length=_LONGEST,
                nullable=column.nullable,
                is_partition_key=column.name == "domain",
            )
        else:
            schema.add_field(column.name, types.INT64, nullable=column.nullable)
    schema.add_field("vector", types.FLOAT_VECTOR, dim=context.dim)
    structure = client.prepare_index_params()
    structure.add_index("vector", index_type="AUTOINDEX" if "://" in uri else "FLAT", metric_type="IP")
    client.create_collection(
        context.name,
        schema=schema,
        index_params=structure,
        consistency_level="Strong",
        properties={_PRINT: context.fingerprint},
    )


def _connect(context: StoreContext) -> tuple[Any, str]:
    uri = str(context.settings.get("uri") or FILE)
    if "://" not in uri:
        # A relative file lies in the index folder, so that the two can be moved together.
        uri = str(context.folder / uri)
    try:
        pymilvus = importlib.import_module("pymilvus")
    except ImportError as error:
        raise StoreError(
            "this index is kept by Milvus, whose client is not installed: pip install 'crosslens[milvus]'"
        ) from error
    # What goes wrong is raised too; the log would repeat it with a traceback.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    given: dict[str, str] = {}
    if "://" in uri:
        named = {"token": os.environ.get(TOKEN), "server_pem_path": os.environ.get(_CERTIFICATE)}
        given = {name: value for name, value in named.items() if value}
    try:
        with _store_errors(uri):
            return pymilvus.MilvusClient(uri, **given), uri
    except StoreError as error:
        if "://" not in uri:
            raise
        told = f"{TOKEN} is set" if "token" in given else f"where it wants a token, set {TOKEN} to it"
        raise StoreError(f"{error} ({told}; TLS takes an address with https://)") from error


def _counter(context: StoreContext) -> Path:
    return context.folder / COUNTER


@contextmanager
def _store_errors(uri: str) -> Iterator[None]:
    """Raise what the Milvus client raises as a ``StoreError``."""
    failure = importlib.import_module("pymilvus.exceptions").MilvusException
    try:
        yield
    except (failure, ConnectionError, ImportError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise StoreError(f"Milvus at {uri}: {' '.join(str(reason).split())}") from error
