"""How and on what it is measured."""

import pytest
from pydantic import ValidationError

from crosslens.data.catalog import Catalog
from crosslens.evaluation.conventions import CONVENTIONS, DEFAULT_KS
from crosslens.evaluation.plan import Measuring, Plan
from crosslens.support.errors import EvaluationError
from testing.tiny_pictures import SHAPES, make_pictures


def test_measuring_gives_the_metrics_of_its_convention():
    expected = CONVENTIONS["standard"].metrics(DEFAULT_KS)
    assert [metric.key for metric in Measuring().metrics()] == [metric.key for metric in expected]
    assert {metric.ties for metric in Measuring(ties="expected", k=[3]).metrics()} == {"expected"}
    with pytest.raises(EvaluationError, match="no convention 'mine'"):
        Measuring(convention="mine").metrics()


@pytest.mark.parametrize("wrong", [{"ks": ()}, {"ks": (0,)}, {"depth": 0}, {"cuts": (1,)}])
def test_wrong_ways_are_refused(wrong):
    with pytest.raises(ValidationError):
        Measuring(**wrong)


def test_a_plan_takes_the_images_of_its_domains_that_are_left(tmp_path):
    catalog = Catalog.open(make_pictures(tmp_path, count=1))
    assert Plan(catalog).chosen_domains == catalog.domains
    plan = Plan(catalog, domains=("Photo",), only={f"photo/{SHAPES[0]}/00.png", f"sketch/{SHAPES[0]}/00.png"})
    assert plan.chosen_domains == ["photo"]
    assert plan.images().ids == [f"photo/{SHAPES[0]}/00.png"]
