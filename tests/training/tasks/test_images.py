"""Single images: crops inside the picture, every colour mode, and broken files by name."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gossiptrain.errors import DataCorruptError
from gossiptrain.training.tasks.images import Crop, centre_crop, load_pixels, random_crop
from tests.training.tasks.image_trees import photo

SIDES = st.integers(1, 4000)


def whole(width: int, height: int) -> Crop:
    return Crop(0, 0, width, height)


def inside(crop: Crop, width: int, height: int) -> bool:
    fits = crop.left + crop.width <= width and crop.top + crop.height <= height
    return fits and min(crop.left, crop.top) >= 0 and min(crop.width, crop.height) >= 1


@settings(deadline=None, max_examples=150)
@given(width=SIDES, height=SIDES, seed=st.integers(0, 2**32))
def test_a_random_crop_lies_inside_the_picture(width: int, height: int, seed: int) -> None:
    assert inside(random_crop(width, height, random=Random(seed)), width, height)


@settings(deadline=None, max_examples=60)
@given(width=SIDES, height=SIDES)
def test_the_centre_crop_is_a_square_in_the_middle(width: int, height: int) -> None:
    crop = centre_crop(width, height)
    assert inside(crop, width, height)
    assert crop.width == crop.height
    assert abs(2 * crop.left + crop.width - width) <= 1
    assert abs(2 * crop.top + crop.height - height) <= 1


def test_random_crops_have_the_usual_areas_and_shapes() -> None:
    random = Random(0)
    crops = [random_crop(400, 300, random=random) for _ in range(2000)]
    areas = np.array([crop.width * crop.height / 120_000 for crop in crops])
    ratios = np.array([crop.width / crop.height for crop in crops])
    assert areas.min() >= 0.07
    assert 0.35 < areas.mean() < 0.6
    assert 0.72 < ratios.min() < 0.85
    assert 1.2 < ratios.max() < 1.37
    assert 0.45 < np.mean([crop.mirrored for crop in crops]) < 0.55


def test_evaluation_looks_at_seven_eighths_of_the_shorter_side() -> None:
    assert centre_crop(256, 256) == Crop(16, 16, 224, 224)
    assert centre_crop(512, 256) == Crop(144, 16, 224, 224)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("LA", "png"), ("P", "png"), ("1", "png")],
)
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str, ending: str) -> None:
    path = tmp_path / f"image.{ending}"
    photo(50, 40, mode=mode).save(path)
    pixels = load_pixels(path, size=32, choose=centre_crop)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    if mode in ("L", "LA", "1"):
        assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_a_transparent_palette_is_read_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    photo(50, 40, mode="P").save(path, transparency=bytes(range(256)))
    assert load_pixels(path, size=16, choose=centre_crop).shape == (16, 16, 3)


def test_a_mirrored_crop_is_the_crop_mirrored(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    photo(50, 40).save(path)
    plain = load_pixels(path, size=16, choose=lambda width, height: Crop(5, 4, 30, 30))
    mirrored = load_pixels(path, size=16, choose=lambda width, height: Crop(5, 4, 30, 30, mirrored=True))
    assert np.array_equal(mirrored, plain[:, ::-1])


@pytest.mark.parametrize("crop", [Crop(0, 0, 1600, 1200), Crop(300, 200, 900, 800), Crop(1000, 40, 500, 600)])
def test_decoding_a_large_jpeg_small_shows_the_same_picture(tmp_path: Path, crop: Crop) -> None:
    path = tmp_path / "large.jpg"
    picture = photo(1600, 1200, seed=3)
    picture.save(path, quality=95)
    small = load_pixels(path, size=64, choose=lambda width, height: crop).astype(int)
    box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
    expected = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR, box=box)).astype(int)
    assert np.abs(small - expected).mean() < 2


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.JPEG"
    photo(200, 200).save(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataCorruptError, match=r"cut.JPEG cannot be read as an image"):
        load_pixels(path, size=32, choose=whole)


def test_a_damaged_png_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.png"
    photo(64, 64).save(path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(DataCorruptError, match=r"damaged.png"):
        load_pixels(path, size=32, choose=whole)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rubbish.JPEG"
    path.write_bytes(content)
    with pytest.raises(DataCorruptError, match=r"rubbish.JPEG"):
        load_pixels(path, size=32, choose=whole)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataCorruptError, match=r"gone.JPEG"):
        load_pixels(tmp_path / "gone.JPEG", size=32, choose=whole)


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    photo(100, 100).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataCorruptError, match=r"bomb.png"):
        load_pixels(path, size=32, choose=whole)
