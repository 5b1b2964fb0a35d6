"""Augmentation of whole batches: the same as image by image, and the same on every device for a seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gossiptrain.training.tasks.augment import CropAndFlip, Normalise, reflect

PLAIN = Normalise(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))


def images(count: int = 64, side: int = 8) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_reflection_is_that_of_padding() -> None:
    row = torch.arange(8.0).view(1, 1, 8)
    padded = functional.pad(row, (4, 4), mode="reflect").flatten()
    assert torch.equal(row.flatten()[reflect(torch.arange(-4, 12), 8)], padded)


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    normalise = Normalise(mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.3, 0.4))
    pixels = images(2)
    expected = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    torch.testing.assert_close(normalise(pixels), expected, check_stride=False)


def test_every_image_is_one_of_the_possible_crops_and_they_vary() -> None:
    pixels = images()
    augmented = CropAndFlip(PLAIN, shift=2)(pixels, seeded())
    whole = functional.pad(pixels.permute(0, 3, 1, 2) / 255, (2, 2, 2, 2), mode="reflect")
    chosen = set()
    for index, found in enumerate(augmented):
        crops = {
            (top, left, flipped): whole[index, :, top : top + 8, left : left + 8]
            for top in range(5)
            for left in range(5)
            for flipped in (False, True)
        }
        matches = [
            place
            for place, crop in crops.items()
            if torch.allclose(found, crop.flip(2) if place[2] else crop, atol=1e-6)
        ]
        assert len(matches) == 1
        chosen.add(matches[0])
    assert len(chosen) > 25
    assert {flipped for _, _, flipped in chosen} == {False, True}


def test_without_shift_and_hole_only_mirroring_is_left() -> None:
    pixels = images()
    plain = PLAIN(pixels)
    augmented = CropAndFlip(PLAIN, shift=0)(pixels, seeded())
    mirrored = [not torch.equal(after, before) for after, before in zip(augmented, plain, strict=True)]
    assert 16 < sum(mirrored) < 48
    for after, before, is_mirrored in zip(augmented, plain, mirrored, strict=True):
        assert torch.equal(after, before.flip(2) if is_mirrored else before)


def test_a_hole_blanks_one_square_of_each_image() -> None:
    pixels = images().clamp(min=1)
    augmented = CropAndFlip(PLAIN, shift=0, hole=3)(pixels, seeded())
    blank = (augmented == 0).all(dim=1)
    assert torch.equal(blank.sum(dim=(1, 2)), torch.full((64,), 9))
    assert torch.equal(blank.any(dim=2).sum(dim=1), torch.full((64,), 3))
    assert len({tuple(image.flatten().nonzero().flatten().tolist()) for image in blank}) > 10


def test_a_seed_decides_everything() -> None:
    augment = CropAndFlip(PLAIN, shift=4, hole=3)
    assert torch.equal(augment(images(), seeded(3)), augment(images(), seeded(3)))
    assert not torch.equal(augment(images(), seeded(3)), augment(images(), seeded(4)))


@pytest.mark.parametrize("hole", [0, 3])
def test_the_result_lies_colours_last_in_memory(hole: int) -> None:
    augmented = CropAndFlip(PLAIN, shift=4, hole=hole)(images(), seeded())
    assert augmented.dtype == torch.float32
    assert augmented.is_contiguous(memory_format=torch.channels_last)
