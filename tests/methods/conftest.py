import pytest

from tiny import make_pictures, register_tiny


@pytest.fixture(autouse=True)
def _tiny_world(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    register_tiny()


@pytest.fixture
def pictures(tmp_path):
    return make_pictures(tmp_path / "pictures")
