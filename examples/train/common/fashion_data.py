"""Fashion-MNIST: from the Debian package to one archive of 32 x 32 pictures."""

import gzip
import subprocess
import tempfile
from pathlib import Path

import numpy as np

CLASSES = (
    "t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
PADDING = 2  # pixels on each side: 28 to 32, which halves well


def read(path: Path, header: int) -> np.ndarray:
    """One file in the IDX format, without its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def prepare(package: Path, out: Path) -> int:
    """Writes `out` (.npz: `images` and `labels`, `held_out_images` and `held_out_labels`, uint8); returns how many.

    Pictures are (32, 32), grey, white on black turned to dark on white as in a catalogue.
    """
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
        for prefix, part in (("", "train"), ("held_out_", "t10k")):
            files = next(Path(folder).rglob(f"{part}-images-idx3-ubyte.gz")).parent
            images = read(files / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
            padded = np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
            arrays[f"{prefix}images"] = 255 - padded
            arrays[f"{prefix}labels"] = read(files / f"{part}-labels-idx1-ubyte.gz", 8)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)
    return len(arrays["images"])


def in_colour(images: np.ndarray) -> np.ndarray:
    """Grey pictures, (count, size, size), in three equal channels, (count, size, size, 3)."""
    return np.repeat(images[..., None], 3, axis=-1)


def load(path: Path) -> dict[str, np.ndarray]:
    """What `prepare` wrote."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}
