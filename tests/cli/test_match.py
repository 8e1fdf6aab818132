"""``crosslens match``."""

import json

import pytest

from testing.tiny_pictures import make_pictures


def test_pairs_are_printed_and_written(cli, pictures, tmp_path):
    table, page = tmp_path / "pairs.csv", tmp_path / "pairs.html"
    status, out, _ = cli(
        "match", pictures / "photo", pictures / "sketch", "-e", "tiny", "--min-match", 0, "-o", table, "-o", page
    )
    assert status == 0
    assert "48 pairs, 0 only in A, 0 only in B" in out
    assert f"written to {table}" in out
    assert table.read_text().count("\npair,") == 48
    assert page.read_text().count("<figure>") == 96


def test_json_goes_to_the_screen(cli, pictures):
    status, out, _ = cli("match", pictures, "--domains", "sketch,photo", "-e", "tiny", "--json", "-", "-q")
    assert status == 0
    value = json.loads(out)
    assert len(value["pairs"]) + len(value["alone_a"]) == 48
    assert value["rough"] is False


def test_wrong_places_are_told_before_the_work(cli, pictures, tmp_path):
    status, _, err = cli("match", pictures, "-e", "no-such", "-o", tmp_path / "pairs.docx")
    assert status == 2
    assert "ends in .json" in err
    status, _, err = cli("match", pictures / "photo", pictures / "photo", "-e", "tiny")
    assert status == 2
    assert "both sides are the same pictures" in err
    status, _, err = cli("match", pictures / "photo", tmp_path / "nowhere", "-e", "tiny")
    assert status == 1
    assert "nowhere" in err


def test_what_is_skipped_is_named_once(cli, pictures):
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"broken")
    status, _, err = cli("match", pictures, "-e", "tiny")
    assert status == 0
    assert err.count("is not an image") == 1, err


def test_few_pictures_have_rough_probabilities(cli, tiny_world, tmp_path):
    few = make_pictures(tmp_path / "few", count=1)
    status, out, err = cli("match", few, "-e", "tiny", "--min-match", 0)
    assert status == 0
    assert "rough" in out
    assert "fewer than 10" in err


@pytest.mark.parametrize("many", [False, True])
def test_pairs_are_opened_in_the_browser(cli, pictures, monkeypatch, many):
    shown = []
    monkeypatch.setattr("crosslens.cli.browser.show_in_browser", lambda url: shown.append(url) or True)
    status, _, _ = cli("match", pictures, "-e", "tiny", "--open", *(["--many"] if many else []))
    assert status == 0
    (url,) = shown
    assert url.endswith("last-match.html")
