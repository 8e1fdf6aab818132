"""The sentence that a report begins with: the best is named, whoever it is, and a ceiling does not compete."""

from crosslens.evaluation.compare import compare_evaluations
from crosslens.report import Section
from crosslens.report.verdict import find_best, judge


def test_the_best_is_named_also_where_the_report_is_about_another(world):
    evaluations = {
        "frozen": world.evaluation(world.vectors(0.3)),
        "centred": world.evaluation(world.vectors(3.0)),
        "ucdir": world.evaluation(world.vectors(0.3, seed=1)),
    }
    section = Section("Results", evaluations)
    assert find_best(section) == "centred"
    values = {name: evaluation.metrics["map@all"] for name, evaluation in evaluations.items()}
    second = max(("frozen", "ucdir"), key=values.__getitem__)
    said = judge(section)
    behind = values["centred"] - values[second]
    assert said.startswith(f"centred finds best: map@all {values['centred']:.3f}, {behind:.3f} above {second}")
    assert "paired test p < 0.001" in said
    assert f"ucdir reaches {values['ucdir']:.3f}" in said or second == "ucdir"


def test_a_difference_that_chance_makes_is_none(world):
    one, other = world.evaluation(world.vectors(0.8)), world.evaluation(world.vectors(0.8, seed=2))
    section = Section("Results", {"one": one, "other": other})
    p_value = compare_evaluations(one, other, "map@all").p_value
    assert ("find alike well" in judge(section)) == (p_value > 0.05)


def test_marked_encoders_are_told_and_do_not_compete(world):
    plain = world.evaluation(world.vectors(0.3))
    ceiling = world.evaluation(world.vectors(3.0), marks=("supervised: trained with labels",))
    section = Section("Results", {"ucdir": plain, "supervised": ceiling})
    assert find_best(section) == "ucdir"
    assert judge(section).endswith(f"With the marks below: supervised {ceiling.metrics['map@all']:.3f}.")
    assert find_best(Section("Results", {"supervised": ceiling})) == "supervised"
