"""A stamp changes with the file, whatever its size and time say."""

import os

import pytest

from crosslens.support.file_stamp import content_digest, stamp_of

TIME = 1_700_000_000_000_000_000


@pytest.fixture
def pair(tmp_path):
    """Two files of one size and one time."""
    files = tmp_path / "a", tmp_path / "b"
    for file in files:
        file.write_bytes(file.name.encode() * 100)
        os.utime(file, ns=(TIME, TIME))
    return files


def exchange(first, second):
    parked = first.with_name("parked")
    first.rename(parked)
    second.rename(first)
    parked.rename(second)


def write_over(first, second):
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(TIME, TIME))


def replace_by_a_copy(first, second):
    copy = first.with_name("copy")
    copy.write_bytes(second.read_bytes())
    os.utime(copy, ns=(TIME, TIME))
    copy.replace(first)


@pytest.mark.parametrize("change", [exchange, write_over, replace_by_a_copy])
def test_another_file_of_the_same_size_and_time_has_another_stamp(pair, change):
    first, second = pair
    before, content = stamp_of(first), content_digest(first)
    assert stamp_of(first) == before
    # ctime ticks every few milliseconds on some systems.
    while write_tick(first) <= before.changed:
        pass
    change(first, second)
    after = stamp_of(first)
    assert after[:2] == before[:2]
    assert after != before
    assert str(after) != str(before)
    assert content_digest(first) != content


def write_tick(beside):
    probe = beside.with_name("tick")
    probe.write_bytes(b"")
    return probe.stat().st_ctime_ns


def test_a_link_is_stamped_as_its_file(pair):
    link = pair[0].with_name("link")
    link.symlink_to(pair[0])
    assert stamp_of(link) == stamp_of(pair[0])
    assert content_digest(link) == content_digest(pair[0])


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        stamp_of(tmp_path / "gone")
