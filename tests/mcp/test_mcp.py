"""The server of an index for assistants, asked by the real client over both ways that clients know."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

import crosslens
from testing import server_process

pytest.importorskip("mcp")
from mcp import Client, StdioServerParameters, stdio_client

A = "photo/circle/00.png"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An index of 32 tiny pictures, and a folder that may be read beside it."""
    from testing.tiny_backbone import register_tiny
    from testing.tiny_pictures import make_pictures

    register_tiny()
    root = tmp_path_factory.mktemp("mcp")
    make_pictures(root / "pictures", count=4)
    crosslens.index(root / "pictures", out=root / "photos.index", encoder="tiny", store="exact")
    for folder in ("asked", "elsewhere"):
        (root / folder).mkdir()
        Image.open(root / "pictures" / "sketch" / "circle" / "01.png").save(root / folder / "mine.png")
    return root


def command(world: Path, *more: str) -> list[str]:
    script = Path(server_process.__file__)
    return [str(script), "mcp", str(world / "photos.index"), "--allow", str(world / "asked"), *more]


@contextmanager
def over_stdio(world: Path) -> Iterator[object]:
    yield stdio_client(StdioServerParameters(command=sys.executable, args=command(world), env=ENVIRONMENT))


@contextmanager
def over_http(world: Path) -> Iterator[object]:
    arguments = [sys.executable, *command(world, "--http", "--port", "0")]
    with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield re.search(r"http://\S+", process.stdout.readline()).group()
        finally:
            process.terminate()


@pytest.mark.parametrize("way", [over_stdio, over_http], ids=["stdio", "http"])
def test_a_client_asks_everything(world, way):
    async def story(place) -> None:
        async with Client(place) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert {*tools} == {"describe_index", "search", "facets", "item", "contact_sheet"}
            assert all(tool.annotations.read_only_hint for tool in tools.values())

            async def ask(tool, **arguments):
                answer = await client.call_tool(tool, arguments)
                assert not answer.is_error, answer.content
                return answer.structured_content

            async def refused(tool, **arguments):
                answer = await client.call_tool(tool, arguments)
                assert answer.is_error
                return answer.content[0].text

            facts = await ask("describe_index")
            assert (facts["name"], facts["items"]) == ("photos.index", 32)
            assert facts["domains"] == {"photo": 16, "sketch": 16}
            assert not facts["understands_text"]
            assert (facts["goal"], facts["goals"]) == ("kind", ["thing", "kind"])
            assert facts["picture_folders"] == [str(world / "asked"), str(world / "pictures")]

            expected = crosslens.search(index, picture, top=24, where="domain = 'photo'")
            ids = [one.hit.id for one in expected.hits]
            data = base64.b64encode(picture.read_bytes()).decode()
            asked = {"where": "domain = 'photo'", "top": 5}
            for query in ({"picture_paths": [str(picture)]}, {"picture_data": [data]}):
                found = await ask("search", **query, **asked)
                assert [hit["id"] for hit in found["hits"]] == ids[:5]
                assert found["hits"][0]["path"] == str(world / "pictures" / ids[0])
            thing = crosslens.search(index, picture, top=5, where="domain = 'photo'", goal="thing")
            aimed = await ask("search", picture_paths=[str(picture)], goal="thing", **asked)
            assert [hit["id"] for hit in aimed["hits"]] == [one.hit.id for one in thing.hits]
            assert found["next_offset"] == 5
            page, pages = found, [found["hits"]]
            while page["next_offset"] is not None:
                page = await ask("search", picture_data=[data], **asked, offset=page["next_offset"])
                pages.append(page["hits"])
            assert [hit["id"] for hits in pages for hit in hits] == ids

            like = await ask("search", like=[A], liked=["photo/cross/00.png"], disliked=["photo/circle/01.png"])
            plain = crosslens.search(
                index, like=A, liked=["photo/cross/00.png"], disliked=["photo/circle/01.png"], top=10
            )
            assert [hit["id"] for hit in like["hits"]] == [one.hit.id for one in plain.hits]

            counted = await ask("facets", where="label = 'circle'")
            shape = counted.pop("columns")["orientation"]
            assert (shape["type"], shape["values"]) == ("text", [["square", 8]])
            assert counted == {
                "items": 8, "domains": {"photo": 4, "sketch": 4}, "labels": {"circle": 8}, "unlabelled": 0,
            }  # fmt: skip
            assert (await ask("item", id=A))["label"] == "circle"
            shown = await client.call_tool("contact_sheet", {"ids": ids[:3]})
            assert shown.content[0].mime_type == "image/png"
            sheet = Image.open(io.BytesIO(base64.b64decode(shown.content[0].data)))
            assert sheet.width > 3 * 160

            assert "does not understand text" in await refused("search", text=["a circle"])
            assert "outside the folders" in await refused(
                "search", picture_paths=[str(world / "asked" / ".." / "elsewhere" / "mine.png")]
            )
            assert "not base64" in await refused("search", picture_data=["%%%"])
            assert "nothere.png" in await refused("search", like=["nothere.png"])
            assert "nothere.png" in await refused("item", id="nothere.png")
            assert "nofield" in await refused("facets", where="nofield = 1")
            assert "at least one query" in await refused("search")
            assert "top" in await refused("search", like=[A], top=1000)

    index = crosslens.Index.open(world / "photos.index")
    picture = world / "asked" / "mine.png"
    before = index.version
    with way(world) as place:
        asyncio.run(asyncio.wait_for(story(place), 240))
    assert crosslens.Index.open(world / "photos.index").version == before


def test_a_link_does_not_lead_out_of_the_allowed_folders(world):
    from crosslens.mcp.tools import IndexTools
    from crosslens.support.errors import ConfigError

    (world / "asked" / "link.png").symlink_to(world / "elsewhere" / "mine.png")
    tools = IndexTools(crosslens.Index.open(world / "photos.index"), [world / "asked"])
    with pytest.raises(ConfigError, match="outside the folders"):
        tools.search(picture_paths=[str(world / "asked" / "link.png")])
    assert tools.search(picture_paths=[str(world / "asked" / "mine.png")]).hits


def test_without_the_package_the_way_to_it_is_said(world, monkeypatch, capsys):
    from crosslens.cli import main

    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["crosslens", "mcp", str(world / "photos.index")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "crosslens[mcp]" in capsys.readouterr().err
