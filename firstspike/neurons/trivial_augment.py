"""TrivialAugment, wide: one operation an image, of random kind and strength, a function of the image and a seed.

Source: Mueller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation" (2021). The
operations are torchvision's; its own class draws from global generators.
"""

from collections.abc import Callable
from typing import Any

import torch

from firstspike.data.download import torchvision
from firstspike.neurons import draws

BINS = 31
Operation = Callable[[Any, torch.Tensor, float], torch.Tensor]


def _affine(**which: Callable[[float], Any]) -> Operation:
    still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}

    def apply(f: Any, image: torch.Tensor, strength: float) -> torch.Tensor:
        moved = {name: how(strength) for name, how in which.items()}
        return f.affine(
            image,
            **{**still, **moved},
            interpolation=f.InterpolationMode.BILINEAR,
            center=[0, 0] if "shear" in which else None,
        )

    return apply


def _shear(strength: float) -> float:
    return torch.rad2deg(torch.atan(torch.tensor(strength))).item()


OPERATIONS: dict[str, tuple[float, bool, Operation]] = {
    "identity": (0.0, False, lambda f, image, s: image),
    "shear x": (0.99, True, _affine(shear=lambda s: [_shear(s), 0.0])),
    "shear y": (0.99, True, _affine(shear=lambda s: [0.0, _shear(s)])),
    "translate x": (32.0, True, _affine(translate=lambda s: [int(s), 0])),
    "translate y": (32.0, True, _affine(translate=lambda s: [0, int(s)])),
    "rotate": (
        135.0,
        True,
        lambda f, image, s: f.rotate(image, s, interpolation=f.InterpolationMode.BILINEAR),
    ),
    "brightness": (0.99, True, lambda f, image, s: f.adjust_brightness(image, 1 + s)),
    "colour": (0.99, True, lambda f, image, s: f.adjust_saturation(image, 1 + s)),
    "contrast": (0.99, True, lambda f, image, s: f.adjust_contrast(image, 1 + s)),
    "sharpness": (0.99, True, lambda f, image, s: f.adjust_sharpness(image, 1 + s)),
    "posterise": (6.0, False, lambda f, image, s: f.posterize(image, 8 - round(s))),
    "solarise": (255.0, False, lambda f, image, s: f.solarize(image, 255.0 - s)),
    "auto-contrast": (0.0, False, lambda f, image, s: f.autocontrast(image)),
    "equalise": (0.0, False, lambda f, image, s: f.equalize(image)),
}
"""Name to greatest strength, whether its sign is drawn, and the operation."""


def trivial_augment(images: torch.Tensor, seed: draws.Seed) -> torch.Tensor:
    """Return uint8 images (N, 3, H, W), each changed by one operation at one of 31 strengths."""
    functional = torchvision().transforms.functional
    u = draws.uniforms(draws.sample_keys(seed, images.shape[0]), 1, 3, torch.float32)[:, 0]
    names, out = list(OPERATIONS), torch.empty_like(images)
    for n, (which, strength, sign) in enumerate(u.tolist()):
        greatest, signed, operation = OPERATIONS[names[int(which * len(names))]]
        amount = int(strength * BINS) / (BINS - 1) * greatest
        out[n] = operation(functional, images[n], -amount if signed and sign < 0.5 else amount)
    return out
