import torch

from crosslens.training.bank import BankSample
from crosslens.training.distributed import World


def test_a_bank_that_holds_every_image_needs_no_sample():
    assert BankSample.draw(100, 100, 0, World()) is None


def test_a_sample_is_fixed_rising_and_even_over_the_ranges_of_processes():
    sample = BankSample.draw(103, 21, 4, World(1, 2))
    again = BankSample.draw(103, 21, 4, World(0, 2))
    assert torch.equal(sample.images, again.images)
    assert len(sample.images) == len(set(sample.images.tolist())) == 20
    assert sample.images.tolist() == sorted(sample.images.tolist())
    assert (sample.images[:10] < 51).all()
    assert (sample.images[10:] >= 51).all()
    assert not torch.equal(sample.images, BankSample.draw(103, 21, 5, World(0, 2)).images)


def test_slots_tell_own_rows_from_images_outside():
    sample = BankSample(torch.tensor([2, 5, 9]))
    slots, held = sample.slots(torch.tensor([5, 0, 9, 12, 2, 6]))
    assert held.tolist() == [True, False, True, False, True, False]
    assert slots[held].tolist() == [1, 2, 0]
