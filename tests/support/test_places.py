"""Where the cache lies."""

import pytest

from crosslens.support.errors import CrosslensError
from crosslens.support.places import cache_folder


def test_a_cache_that_cannot_be_made_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CrosslensError, match="file/cache cannot be made: Not a directory; CROSSLENS_CACHE names"):
        cache_folder()
