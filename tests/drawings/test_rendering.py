from __future__ import annotations

import numpy as np
import pytest

from drawings.rendering import SIDE, Drawing, draw_view

SQUARE = Drawing('<path fill="currentColor" d="M4 4h16v16H4z"/>', 0, 0, 24, 24)
LINE = Drawing('<path stroke="currentColor" stroke-width="2" fill="none" d="M4 12h16"/>', 0, 0, 24, 24)


def test_a_view_is_drawn_anew_each_time_and_the_same_for_one_seed() -> None:
    one, again, other = (np.asarray(draw_view(SQUARE, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert one.shape == (SIDE, SIDE, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_every_view_shows_something() -> None:
    for seed in range(40):
        for drawing in (SQUARE, LINE):
            view = np.asarray(draw_view(drawing, np.random.default_rng(seed)))
            assert np.ptp(view) > 60


def test_an_empty_drawing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        draw_view(Drawing("<g/>", 0, 0, 24, 24), np.random.default_rng(0))


def test_strokes_widen_and_ink_takes_its_colour() -> None:
    svg = LINE.svg("#123456", 2)
    assert 'stroke-width="4"' in svg
    assert 'stroke="#123456"' in svg
    assert "currentColor" not in svg


def test_the_box_of_a_set_holds_where_the_icon_has_none() -> None:
    content = {"width": 32, "icons": {"wide": {"body": "<g/>", "width": 48}, "plain": {"body": "<g/>"}}}
    assert Drawing.of(content, "wide") == Drawing("<g/>", 0, 0, 48, 16)
    assert Drawing.of(content, "plain") == Drawing("<g/>", 0, 0, 32, 16)
