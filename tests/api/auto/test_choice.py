"""From facts to a method, as a table."""

import pytest

from crosslens.api.auto.choice import Choice, choose
from crosslens.api.auto.facts import Facts
from crosslens.evaluation.without_labels import LEAST, Agreement
from crosslens.support.errors import ConfigError, RunError
from crosslens.training.run import Run

TWO = {"sketch": 40, "photo": 60}

TABLE = [
    ("names alone", Facts(names=7), "tki", "no picture"),
    ("two looks", Facts(TWO), "uem", "no class names"),
    ("two looks and names", Facts(TWO, names=7), "clair", "7 class names"),
    ("names that the backbone cannot read", Facts(TWO, names=7, reads_words=False), "uem", "cannot read"),
    ("one name tells nothing apart", Facts(TWO, names=1), "uem", "1 class name"),
    ("the same thing is looked for", Facts(TWO, goal="thing"), "centred", "very same thing"),
    ("more of a kind is looked for", Facts(TWO, goal="kind"), "uem", "no class names"),
    ("things by the look of them", Facts(TWO, paired=0.85), "centred", "85% of the pictures"),
    ("things, but of named classes", Facts(TWO, names=7, paired=0.75), "clair", "7 class names"),
    ("things, whatever their names", Facts(TWO, names=7, paired=0.85), "centred", "85% of the pictures"),
    ("one look", Facts({"photo": 60}), "centred", "one look"),
    ("one look, few pictures", Facts({"photo": 2}), "centred", "one look"),
    ("three looks", Facts({**TWO, "art": 50}), "uem", "no class names"),
    ("three looks and names", Facts({**TWO, "art": 50}, names=7), "uem", "3 domains, and clair takes two"),
    ("kinds, whatever they look like", Facts(TWO, paired=0.85, goal="kind"), "uem", "no class names"),
    ("too few to tell", Facts({"a": LEAST - 1, "b": 500}), "centred", f"below {LEAST}"),
    ("enough to tell", Facts({"a": LEAST, "b": 500}), "uem", "no class names"),
    ("twice the same folder", Facts(TWO, copies=0.9), "centred", "90%"),
    ("some copies", Facts(TWO, copies=0.1), "uem", "no class names"),
]


@pytest.mark.parametrize(("what", "facts", "method", "reason"), TABLE, ids=[row[0] for row in TABLE])
def test_rules(what, facts, method, reason):
    choice = choose(facts)
    assert choice.method == method
    chosen, because, unless = choice.sentences
    assert f"takes {method} for" in chosen
    assert because.startswith("because ")
    assert reason in because
    assert unless.startswith("it would change: ")


def test_nothing_to_choose_by_is_said():
    for facts in (Facts(), Facts(names=1)):
        with pytest.raises(ConfigError, match=r"fit auto PICTURES.*--classes FILE"):
            choose(facts)


def test_labels_are_told_of_and_change_nothing():
    plain, labelled = choose(Facts(TWO)), choose(Facts(TWO, labelled=0.5))
    assert plain.method == labelled.method
    assert "50% of the pictures have labels" in labelled.unless
    assert "labels" not in plain.unless


@pytest.mark.parametrize(
    ("value", "method", "instead_of"), [(0.6, "uem", None), (0.5, "centred", "uem"), (0.3, "centred", "uem")]
)
def test_what_does_not_seem_better_gives_way(value, method, instead_of):
    judged = choose(Facts(TWO)).judged(Agreement(value, 0.5, 0.01))
    assert (judged.method, judged.instead_of) == (method, instead_of)
    assert judged.agreement == {
        "value": value,
        "centred": 0.5,
        "error": 0.01,
        "verdict": {0.6: "better", 0.5: "alike", 0.3: "worse"}[value],
    }
    if instead_of:
        assert f"{value:.2f} with it, to 0.50 with centred" in judged.because


def test_a_run_gives_back_what_it_was_chosen_by(tmp_path):
    judged = choose(Facts(TWO, names=3, idle_names=("x",), shared=(0.5, 1.0))).judged(Agreement(0.1, 0.5, 0.01))
    run = Run.start(tmp_path / "run", {"method": "centred", "auto": judged.to_json()}, resume=False)
    assert Choice.of_run(run) == judged
    assert Choice.of_run(Run.start(tmp_path / "plain", {"method": "uem"}, resume=False)) is None
    run.amend({"auto": {"method": "uem", "nonsense": 1}})
    with pytest.raises(RunError, match=r"config\.yaml is damaged"):
        Choice.of_run(run)
