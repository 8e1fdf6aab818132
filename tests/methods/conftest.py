import pytest


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass
