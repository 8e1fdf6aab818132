import pytest

from crosslens.training.schedules import cosine, linear_ramp, sigmoid_step
from testing.golden import read_golden

GOLDEN = read_golden("uem")


@pytest.mark.parametrize(("epoch", "weight"), GOLDEN["schedule_100"].items())
def test_sigmoid_step(epoch, weight):
    assert sigmoid_step(int(epoch), 100) == pytest.approx(weight, rel=1e-9)


@pytest.mark.parametrize("epochs", [20, 50, 100, 200])
def test_prototypes_rest_until_seven_epochs_before_half_time(epochs):
    assert sigmoid_step(epochs // 2, epochs) == 0.5
    assert sigmoid_step(epochs // 2 - 7, epochs) < 1e-3


def test_cosine_and_ramp_ends():
    assert cosine(0, 20) == 1
    assert cosine(10, 20) == pytest.approx(0.5)
    assert [linear_ramp(e, 2, 4) for e in (1, 2, 3, 4, 9)] == [0, 0, 0.5, 1, 1]
