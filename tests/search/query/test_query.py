import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.search.filters.conditions import Eq
from crosslens.search.query.query import SearchOptions, make_options, mix, weighted_parts
from crosslens.support.errors import ConfigError


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 1000), st.lists(st.floats(-2, 2).filter(lambda w: abs(w) > 0.1), min_size=1, max_size=5))
def test_a_mix_is_the_weighted_sum_of_unit_length(seed, weights):
    vectors = unit(np.random.default_rng(seed).normal(size=(len(weights), 16)))
    expected = sum(w * v for w, v in zip(weights, vectors, strict=True))
    mixed = mix(vectors, weights)
    assert np.allclose(mixed, expected / np.linalg.norm(expected), atol=1e-5)
    assert np.linalg.norm(mixed) == pytest.approx(1, abs=1e-5)


def test_mixes_that_say_nothing_are_refused():
    vectors = unit(np.random.default_rng(0).normal(size=(2, 16)))
    twins = unit(np.stack([vectors[0], vectors[0] + 1e-5]))
    for given_, weights, message in (
        (vectors[:0], [], "at least one query"),
        (vectors, [1], "2 queries need 2 weights, not 1"),
        (twins, [1, -1], "cancel"),
        (vectors * [[1], [0]], [1, 1], "query 2 of 2 has no direction"),
        (vectors * [[np.nan], [1]], [1, 1], "query 1 of 2 has no direction"),
        (vectors, [0, 0], "cancel"),
        (vectors, [1, float("nan")], "finite"),
    ):
        with pytest.raises(ConfigError, match=message):
            mix(given_, weights)


def test_options_are_checked_and_named():
    made = make_options(where="domain = 'photo'", sort="-size")
    assert made.where == Eq(field="domain", value="photo")
    assert SearchOptions.model_validate_json(made.model_dump_json()) == made
    for wrong, name in (
        ({"top": 0}, "top = 0"),
        ({"top": 1001}, "top = 1001"),
        ({"sort": ""}, "sort = ''"),
        ({"fold": 1.5}, "fold = 1.5"),
        ({"rerank": "magic"}, "rerank = 'magic'"),
        ({"min_match": 2}, "min_match = 2"),
        ({"min_score": float("nan")}, "min_score"),
        ({"colour": 1}, "colour"),
    ):
        with pytest.raises(ConfigError, match=name):
            make_options(**wrong)
    with pytest.raises(ConfigError):
        make_options(where="domain =")


def test_weights_go_to_pictures_texts_and_ids_in_this_order():
    parts = weighted_parts(images=["a.png"], texts=["b"], like=["c", "d"], weights=[1, 2, 3, -4])
    assert [(p.kind, p.value, p.weight) for p in parts] == [
        ("image", "a.png", 1), ("text", "b", 2), ("like", "c", 3), ("like", "d", -4),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="2 queries need 2 weights, not 3"):
        weighted_parts(texts=["b", "c"], weights=[1, 2, 3])
