"""Scenarios and "no match" on the command line."""

import json

SET = [
    part
    for pair in (
        "epochs=4",
        "align_epochs=2",
        "batch_size=16",
        "views=1",
        "head=[16,8]",
        "members=1",
        "clusters=3",
    )
    for part in ("--set", pair)
]


def test_fit_for_a_scenario_and_evaluate_on_the_same_classes(cli, pictures, tmp_path):
    run, out = tmp_path / "run", tmp_path / "o.json"
    scenario = ("--protocol", "open-set", "--shared", 2, "--private-query", 1, "--draw", 7)
    status, _, err = cli(
        "fit", "uem", pictures, "--out", run, "--backbone", "tiny", "--domains", "sketch,photo", *SET, *scenario
    )
    assert status == 0, err
    status, text, err = cli("evaluate", run, "--json", out)
    assert status == 0, err
    value = json.loads(out.read_text())
    assert value["protocol"] == "open-set"
    assert value["scenario"]["seed"] == 7
    assert [len(value["scenario"][key]) for key in ("shared", "private_query", "private_gallery")] == [2, 1, 0]
    assert value["directions"][0]["queries"] == value["directions"][0]["gallery_size"] == 24
    assert "Open-set Acc" in text
    assert "auroc" in text
    status, _, err = cli("evaluate", "tiny", pictures, "--domains", "sketch,photo", *scenario, "--json", out)
    assert status == 0, err
    assert json.loads(out.read_text())["scenario"] == value["scenario"]


def test_search_says_no_match(cli, pictures, tmp_path):
    index = tmp_path / "i"
    status, _, err = cli("index", "build", pictures, "--domains", "photo", "--encoder", "tiny", "--out", index)
    assert status == 0, err
    photo = pictures / "photo" / "circle" / "00.png"
    asked = ("search", index, "--image", photo, "--top", 2, "--json", "-")
    answers = []
    for more in ((), ("--min-match", 0.0), ("--min-match", 1.0), ("--min-match", 0.5, "--queries", pictures)):
        status, text, err = cli(*asked, *more)
        assert status == 0, err
        answers.append(json.loads(text))
    assert "match_probability" not in answers[0]
    assert [len(answer["hits"]) for answer in answers[:3]] == [2, 2, 2]
    assert [answer["no_match"] for answer in answers[1:3]] == [False, True]
    assert answers[1]["match_probability"] == answers[2]["match_probability"]
    assert 0 < answers[3]["match_probability"] < 1
    status, text, err = cli(*asked, "--text", "a circle", "--min-match", 0.5)
    assert status == 1
    assert "text" in err
    for file in (pictures / "photo").rglob("*.png"):
        if file != photo:
            file.unlink()
    status, text, err = cli(*asked, "--min-match", 0.0, "--queries", pictures / "sketch")
    assert status == 0, err
    assert 0 < json.loads(text)["match_probability"] < 1


def test_bad_input(cli, pictures, tmp_path):
    for arguments, message in (
        (("evaluate", "tiny", pictures, "--shared", 2), "need --protocol"),
        (
            ("evaluate", "tiny", pictures, "--protocol", "partial", "--shared", 9, "--domains", "sketch,photo"),
            "taken",
        ),
        (
            ("fit", "uem", pictures, "--out", tmp_path / "r", "--protocol", "partial", "--domains", "photo"),
            "gallery",
        ),
    ):
        status, _, err = cli(*arguments)
        assert status in (1, 2)
        assert message in err
    assert not (tmp_path / "r").exists()
