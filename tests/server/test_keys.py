"""Keys: made once, kept as hashes, told apart by role, refused when removed."""

import json
import stat
import time

import pytest

from crosslens.server.keys import Keys, add_key, read_keys, remove_key
from crosslens.support.errors import ConfigError
from testing.servers import is_problem, plain, running


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def test_a_key_is_found_and_nothing_of_it_is_kept(file):
    key = add_key(file, "anna", "write")
    assert Keys(file).find(key).name == "anna"
    assert key.split("_", 2)[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_keys_of_one_secret_have_different_hashes(file):
    add_key(file, "a", "read")
    add_key(file, "b", "read")
    one, two = read_keys(file).keys
    assert one.salt != two.salt
    assert one.hash != two.hash


def test_wrong_keys(file):
    key = add_key(file, "anna", "read")
    keys = Keys(file)
    other = add_key(file.with_name("other.json"), "anna", "read")
    wrong = [
        "",
        "x",
        key[:-1],
        key + "x",
        key.replace("cl_", "cl-"),
        key[:-1] + ("A" if key[-1] != "A" else "B"),
        other,
    ]
    assert [keys.find(one) for one in wrong] == [None] * len(wrong)
    public = key.split("_")[1]
    assert keys.find(f"cl_{public}_{other.split('_', 2)[2]}") is None


def test_removed_and_new_keys_count_within_a_second(file):
    anna, keys = add_key(file, "anna", "read"), None
    add_key(file, "carl", "read")
    keys = Keys(file)
    assert keys.find(anna)
    remove_key(file, "anna")
    bert = add_key(file, "bert", "write")
    time.sleep(1.05)
    assert keys.find(anna) is None
    assert keys.find(bert).role == "write"


def test_a_broken_key_file_lets_nobody_in(file):
    anna = add_key(file, "anna", "read")
    keys = Keys(file)
    file.write_text("{")
    time.sleep(1.05)
    assert keys.find(anna) is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": 2}', '{"format": 1, "keys": [{"id": "x"}]}', '{"keys": []}']
)
def test_bad_files_are_refused(file, content):
    file.write_text(content)
    with pytest.raises(ConfigError):
        Keys(file)


def test_names_are_taken_once(file):
    add_key(file, "anna", "read")
    with pytest.raises(ConfigError, match="has a key"):
        add_key(file, "anna", "write")
    with pytest.raises(ConfigError):
        add_key(file, "", "write")
    with pytest.raises(ConfigError, match="no key of 'bert'"):
        remove_key(file, "bert")
    assert len(read_keys(file).keys) == 1


def test_roles_over_http(own_index, file):
    reader, writer = add_key(file, "reader", "read"), add_key(file, "writer", "write")
    with running(own_index, api_key_file=file) as server:
        place = "/api/v1/collections"
        assert is_problem(server.client.get(place), 401)
        assert "Bearer" in server.client.get(place).headers["www-authenticate"]
        is_problem(server.client.get("/metrics"), 401)
        is_problem(server.client.get("/api/v1/jobs"), 401)
        is_problem(server.client.get(f"{place}/own.index/thumbnail", params={"id": "photo/circle/00.png"}), 401)
        assert server.client.get("/health").status_code == 200
        assert server.client.get("/ready").status_code == 200
        assert server.client.get("/").status_code == 200
        bearer = {"Authorization": f"Bearer {reader}"}
        assert server.client.get(place, headers=bearer).status_code == 200
        assert server.client.get(place, headers={"X-API-Key": reader}).status_code == 200
        is_problem(server.client.get(place, headers={"Authorization": "Bearer nonsense"}), 401)
        is_problem(server.client.get(place, headers={"Authorization": f"Basic {reader}"}), 401)
        assert (
            server.search({"parts": [{"image": 0}]}, plain(), name="own.index", headers=bearer).status_code == 200
        )
        is_problem(server.add(plain(), name="own.index", headers=bearer), 403)
        gone = {"ids": ["photo/circle/00.png"]}
        is_problem(server.client.request("DELETE", f"{place}/own.index/items", json=gone, headers=bearer), 403)
        is_problem(server.client.delete("/api/v1/jobs/x", headers=bearer), 403)
        assert server.add(plain(), name="own.index", headers={"X-API-Key": writer}).status_code == 202


def test_the_key_comes_before_the_body(own_index, file):
    add_key(file, "reader", "read")
    with running(own_index, api_key_file=file) as server:
        head = (
            f"POST /api/v1/collections/own.index/search HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
        )
        assert b" 401 " in server.raw(head.encode()).split(b"\r\n")[0]


def test_the_command_line(cli, file, built_index):
    status, out, err = cli("serve", "keys", "add", "anna", "--role", "write", "--file", file)
    assert status == 0
    assert Keys(file).find(out.strip()).role == "write"
    assert "cannot be shown again" in err
    assert cli("serve", "keys", "list", "--file", file, "--json", "-")[1].count("anna") == 1
    assert json.loads(cli("serve", "keys", "list", "--file", file, "--json", "-")[1])["keys"][0]["role"] == "write"
    assert cli("serve", "keys", "add", "bert", "--role", "admin", "--file", file)[0] == 2
    assert cli("serve", "keys", "remove", "anna", "--file", file)[0] == 0
    assert read_keys(file).keys == ()
    status, _, err = cli("serve", built_index, "--api-key-file", file)
    assert status == 2
    assert "holds no key" in err
    status, _, err = cli("serve", built_index, "--host", "0.0.0.0")
    assert status == 2
    assert "--api-key-file" in err
    assert "--insecure-no-keys" in err
    status, _, err = cli("serve", file.parent / "nothing")
    assert status == 1
    assert "holds no index" in err


def test_missing_packages_are_named(cli, monkeypatch, built_index):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "uvicorn" else real(name, *a)
    )
    status, _, err = cli("serve", built_index)
    assert status == 2
    assert "pip install 'crosslens[serve]'" in err
    assert "uvicorn" in err
