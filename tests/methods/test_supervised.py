"""What the head with labels is trained on, and what is left to measure it on."""

import pytest

import crosslens
from crosslens.support.errors import TrainingError
from testing.tiny_pictures import make_pictures

QUICK = {"epochs": 1, "batch_size": 8, "views": 1, "head": [8, 4], "members": 1}


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_every_class_is_on_both_sides(tmp_path, count, share):
    pictures = make_pictures(tmp_path / "pictures", count=count)
    settings = {"epochs": 1, "train_share": share}
    run = crosslens.fit("supervised", pictures, out=tmp_path / "run", backbone="tiny", settings=settings)
    held = run.read_held_out()
    assert len({image.rpartition("/")[0] for image in held}) == 8
    assert len(held) == 8 * (count - min(max(1, round(count * share)), count - 1))


def test_one_image_a_class_and_domain_is_refused_and_the_folder_stays_usable(tmp_path):
    single = make_pictures(tmp_path / "single", count=1)
    with pytest.raises(TrainingError, match="no class has two images in one domain"):
        crosslens.fit("supervised", single, out=tmp_path / "run", backbone="tiny")
    more = make_pictures(tmp_path / "more", count=6)
    run = crosslens.fit("instance", more, out=tmp_path / "run", backbone="tiny", settings=QUICK)
    assert run.is_finished
    assert run.read_held_out() is None


@pytest.mark.parametrize("left", ["held_out.json", "labels.json", "labels.parquet", "images.parquet"])
def test_what_was_written_before_learning_is_in_nobodys_way(tmp_path, pictures, left):
    with pytest.raises(TrainingError, match="at least 2 domains"):
        crosslens.fit("uem", pictures, out=tmp_path / "run", backbone="tiny", domains=["photo"])
    (tmp_path / "run" / left).write_text('{"ids": ["photo/circle/00.png"]}')
    run = crosslens.fit("instance", pictures, out=tmp_path / "run", backbone="tiny", settings=QUICK)
    assert run.is_finished
    assert not (run.folder / left).exists()
