from __future__ import annotations

import sys

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from toca.pipelines import video
from toca.pipelines.outputs import OutputPaths


def frames(size: tuple[int, int] = (32, 32), count: int = 5) -> list[Image.Image]:
    return [Image.new("RGB", size, (40 * i, 255 - 40 * i, 90)) for i in range(count)]


def save(path, size: tuple[int, int] = (32, 32)) -> list:
    return OutputPaths(path, "owl", False).save(lambda: path / "owl.png", video.video_writers(frames(size)))


@pytest.mark.parametrize("size", [(32, 32), (33, 31), (100, 36)])
def test_mp4_and_gif_hold_all_frames(tmp_path, size):
    paths = save(tmp_path, size)
    assert [path.name for path in paths] == ["owl.mp4", "owl.gif"]
    mp4, gif = (iio.imread(path) for path in paths)
    assert len(mp4) == len(gif) == 5
    assert mp4.shape[1:3] == (size[1] + size[1] % 2, size[0] + size[0] % 2)
    assert gif.shape[1:3] == (size[1], size[0])
    assert np.abs(mp4[3].astype(float).mean((0, 1)) - [120, 135, 90]).max() < 12


def test_nothing_is_left_when_the_encoder_fails(tmp_path, monkeypatch):
    writer = video._imageio()
    monkeypatch.setattr(writer, "mimwrite", _half_written)
    with pytest.raises(OSError, match="owl.mp4 could not be written"):
        save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _half_written(path, *_, **__):
    path.write_bytes(b"half")
    raise OSError("encoder died")


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match="pip install imageio imageio-ffmpeg"):
        video.check_video_support()
