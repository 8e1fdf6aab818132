from contextlib import contextmanager

import pytest

from crosslens.training import loop


@pytest.fixture(autouse=True)
def _tiny(tiny_world):
    pass


@pytest.fixture
def killed_after(monkeypatch):
    """``with killed_after(steps, KIND, ...): fit`` dies when these classes together begin one step more.

    Every step leaves a checkpoint. ``modules`` are those whose ``train`` the fit calls. Gives the calls made, as
    ``(the trained object, epoch, step)``.
    """

    @contextmanager
    def killed(steps, *kinds, modules=("crosslens.methods.two_view", "crosslens.methods.uem.method")):
        calls = []

        def dying(original):
            def step(self, epoch, number):
                calls.append((self, epoch, number))
                if len(calls) > steps:
                    raise KeyboardInterrupt
                return original(self, epoch, number)

            return step

        with monkeypatch.context() as patch:
            for module in modules:
                patch.setattr(f"{module}.train", lambda *a, **k: loop.train(*a, **k | {"checkpoint_seconds": 0}))
            for kind in kinds:
                patch.setattr(kind, "step", dying(kind.step))
            with pytest.raises(KeyboardInterrupt):
                yield calls

    return killed
