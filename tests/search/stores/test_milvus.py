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
def test_an_alias_goes_over_in_one_step_and_back(tmp_path):
    old = Place("milvus-server", tmp_path / "old")
    address = old.context.settings["uri"]
    settings = {"uri": address, "alias": "public"}
    first = old.create()
    first.upsert(items(["a"]), unit(1))
    (tmp_path / "new").mkdir()
    context = dataclasses.replace(old.context, folder=tmp_path / "new", name="crosslens_next", settings=settings)
    second = MilvusStore.create(context)
    second.upsert(items(["b", "c"]), unit(2))
    asked = pymilvus_client(address)

    def public():
        return sorted(row["id"] for row in asked.query("public", filter='key != ""', output_fields=["id"]))

    assert public() == ["a"]
    assert second.stats()["alias_is"] == "crosslens_test"
    second.publish()
    assert public() == ["b", "c"]
    assert first.count() == 1
    first.publish()
    assert public() == ["a"]
    assert second.stats()["alias_is"] == "crosslens_test"
    # Made again, the collection that has the name is replaced, and the name stays.
    assert old.create().count() == 0
    assert public() == []


@needs_milvus
def test_domains_are_partitions(tmp_path):
    place = Place("milvus-server", tmp_path)
    store = place.create()
    store.upsert(items(["a", "b"], domain=["photo", "sketch"]), unit(2))
    about = pymilvus_client(place.context.settings["uri"]).describe_collection(place.context.name)
    assert [field["name"] for field in about["fields"] if field.get("is_partition_key")] == ["domain"]
    # An item that changes its domain leaves nothing behind in the partition of the old one.
    store.upsert(items(["a"], domain=["sketch"]), unit(1, seed=5))
    assert store.count() == 2
    assert store.count(Eq(field="domain", value="photo")) == 0
    found = store.search(unit(1, seed=5), 5, Eq(field="domain", value="sketch"))[0]
    assert found.ids[0] == "a"
    assert len(found.ids) == 2


def pymilvus_client(address):
    from pymilvus import MilvusClient

    return MilvusClient(address)


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
    named = {"uri": "https://host:19530/shop", "alias": "photos"}
    assert parse_store("milvus:https://host:19530/shop#photos") == ("milvus", named)
    assert parse_store("milvus:./a#b.db") == ("milvus", {"uri": str(tmp_path / "a#b.db")})
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
