"""What is Milvus's own: expressions, the embedding of a collection, a missing client."""

import dataclasses
import sys

import pytest

from crosslens.search.filters.conditions import Eq, In, Not, Prefix, Range
from crosslens.search.stores import parse_store
from crosslens.search.stores.base import StoreContext
from crosslens.search.stores.milvus import MilvusStore, compile_filter
from crosslens.support.errors import ConfigError, FingerprintError, StoreError
from testing.stores import Place, items, needs_milvus, unit


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        (Eq(field="domain", value='say "hi"'), '(domain == "say \\"hi\\"")'),
        (Eq(field="label", value="a"), '(label is not null and label == "a")'),
        (Not(filter=In(field="label", values=("a", "b"))), '(not (label is not null and label in ["a", "b"]))'),
        (Range(field="size", min=3), "(size is not null and size >= 3)"),
        (Range(field="id"), '(key != "")'),
        (Prefix(field="id", value="a/9"), '(id >= "a/9" and id < "a/:")'),
        (Prefix(field="id", value="a\U0010ffff"), '(id >= "a\U0010ffff" and id < "b")'),
        (Prefix(field="id", value="\ud7ff"), '(id >= "\ud7ff" and id < "\ue000")'),
        (Prefix(field="id", value=""), '(id >= "")'),
        (Eq(field="domain", value="é"), '(domain in ["é", "e\u0301"])'),
        (
            Prefix(field="domain", value="é"),
            '(((domain >= "é" and domain < "ê") or (domain >= "e\u0301" and domain < "e\u0302")))',
        ),
    ],
)
def test_expressions(where, expression):
    assert compile_filter(where) == expression


@needs_milvus
def test_vectors_of_another_embedding(tmp_path):
    place = Place("milvus", tmp_path)
    place.create().close()
    other = dataclasses.replace(place.context, fingerprint="0" * 16)
    with pytest.raises(FingerprintError, match=r"another embedding.*crosslens index build ROOT"):
        MilvusStore.open(other)
    with pytest.raises(StoreError, match="has no collection"):
        MilvusStore.open(dataclasses.replace(place.context, name="crosslens_none"))


@needs_milvus
def test_many_messages(tmp_path, monkeypatch):
    monkeypatch.setattr("crosslens.search.stores.milvus._MESSAGE", 20_000)
    store = Place("milvus", tmp_path).create()
    store.upsert(items([f"{number:04d}" for number in range(100)]), unit(100))
    assert store.count() == 100
    assert store.get(["0099"])[1].tolist() == unit(100)[99:].tolist()


def test_without_the_client(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(StoreError, match=r"pip install 'crosslens\[milvus\]'"):
        Place("milvus", tmp_path).create()


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_store("milvus:./a.db") == ("milvus", {"uri": str(tmp_path / "a.db")})
    assert parse_store("milvus:http://host:19530") == ("milvus", {"uri": "http://host:19530"})
    assert parse_store("milvus") == ("milvus", {})
    with pytest.raises(ConfigError, match="takes no address"):
        parse_store("lance:x")
    with pytest.raises(ConfigError, match="CROSSLENS_MILVUS_TOKEN"):
        parse_store("milvus:http://anna:secret@host:19530")


@pytest.mark.parametrize("token", [None, "root:Milvus"])
def test_credentials_come_from_the_environment(token, tmp_path, monkeypatch):
    failure = pytest.importorskip("pymilvus").MilvusException
    asked = []

    def refuse(uri, **given):
        asked.append((uri, given))
        raise failure(message="auth check failure")

    monkeypatch.setattr("pymilvus.MilvusClient", refuse)
    monkeypatch.delenv("CROSSLENS_MILVUS_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("CROSSLENS_MILVUS_TOKEN", token)
        monkeypatch.setenv("CROSSLENS_MILVUS_CERTIFICATE", "server.pem")
    context = StoreContext(tmp_path, "photos", 4, settings={"uri": "https://host:19530"})
    told = "TOKEN is set; TLS" if token else "where it wants a token, set CROSSLENS_MILVUS_TOKEN"
    with pytest.raises(StoreError, match=f"auth check failure .*{told}") as refused:
        MilvusStore.create(context)
    assert asked == [("https://host:19530", {"token": token, "server_pem_path": "server.pem"} if token else {})]
    assert "root:Milvus" not in str(refused.value)
