from __future__ import annotations

import pytest
from PIL import Image
from typer.testing import CliRunner

from crosslens.cli.app import app
from crosslens.images import limits
from crosslens.images.decode import decode
from crosslens.support.errors import ConfigError, ImageError
from testing.picture_files import encoded


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(limits, "_limit", None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.delenv(limits.VARIABLE, raising=False)


def test_the_limit_is_of_the_process_or_the_environment(monkeypatch) -> None:
    assert limits.max_pixels() == 89_478_485
    limits.set_max_pixels(200_000_000)
    assert limits.max_pixels() == Image.MAX_IMAGE_PIXELS == 200_000_000
    monkeypatch.setattr(limits, "_limit", None)
    monkeypatch.setenv(limits.VARIABLE, "0.001")
    assert limits.max_pixels() == 1000
    with pytest.raises(ImageError, match=r"40 x 40 pixels, more than the limit .* CROSSLENS_MAX_PIXELS"):
        decode(encoded(Image.new("L", (40, 40)), "PNG"))


@pytest.mark.parametrize("told", ["many", "1e999", "nan"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, told: str) -> None:
    monkeypatch.setenv(limits.VARIABLE, told)
    with pytest.raises(ConfigError, match="million pixels"):
        limits.max_pixels()


def test_a_limit_that_lets_nothing_through_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive"):
        limits.set_max_pixels(0)


def test_fast_scales_what_is_up_to_twice_the_limit() -> None:
    picture = encoded(Image.new("RGB", (400, 400), (255, 0, 0)), "JPEG")
    with pytest.raises(ImageError, match="--decode fast takes this one"):
        decode(picture, max_pixels=100_000)
    assert decode(picture, mode="fast", min_side=50, max_pixels=100_000).size == (50, 50)
    with pytest.raises(ImageError, match="more than the limit"):
        decode(picture, mode="fast", max_pixels=79_999)
    with pytest.raises(ImageError, match="more than the limit"):
        decode(encoded(Image.new("RGB", (400, 400)), "PNG"), mode="fast", max_pixels=100_000)


@pytest.mark.slow
def test_a_phone_picture_of_108_million_pixels() -> None:
    picture = encoded(Image.new("L", (12_000, 9_000)), "JPEG")
    assert decode(picture, mode="fast").size == (1500, 1125)
    with pytest.raises(ImageError, match="limit of 89 million"):
        decode(picture)
    assert decode(picture, max_pixels=110_000_000).size == (12_000, 9_000)


def test_the_option_raises_the_limit_of_a_command(tmp_path) -> None:
    folder = tmp_path / "pictures" / "photo"
    folder.mkdir(parents=True)
    Image.new("RGB", (60, 60)).save(folder / "1.png")
    root = str(tmp_path / "pictures")
    refused = CliRunner().invoke(app, ["data", "check", root, "--decode", "--max-pixels", "0.003"])
    assert refused.exit_code == 1
    assert "60 x 60 pixels" in refused.output
    taken = CliRunner().invoke(app, ["data", "check", root, "--decode", "--max-pixels", "0.004"])
    assert taken.exit_code == 0
