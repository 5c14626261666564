"""Compare torchvision's compiled operators with plain formulas, and its transforms with what they must do.

python -m workloads.vision                   # the same boxes, features within 1e-9, transforms within 1e-5
python -m workloads.vision --shifted-boxes   # must fail: the formulas get boxes that lie one pixel further
"""

import argparse
import importlib.util
import sys

import torch
from torch import Tensor

from workloads import digits, harness
from workloads.harness import CannotRun, Limit, Workload

LIMITS = {
    "nms_differs": Limit("<=", 0),
    "roi_align_error": Limit("<=", 1e-9),
    "deformed_error": Limit("<=", 1e-9),
    "transform_error": Limit("<=", 1e-5),
    "png_differs": Limit("<=", 0),
}
BOXES = 200
SIZE = 64
"""Height and width, in pixels, of what the boxes lie in."""
OVERLAP = 0.5
BINS = 4


def needs(_: argparse.Namespace) -> None:
    """Torchvision; if it is installed but broken, that is a failure and not a reason."""
    if importlib.util.find_spec("torchvision") is None:
        raise CannotRun("torchvision is not installed")


def random_boxes(generator: torch.Generator) -> Tensor:
    """Boxes as left, top, right, bottom in pixels: float64 of shape (BOXES, 4), 4 to 24 pixels wide and high."""
    corners = 8 + torch.rand(BOXES, 2, generator=generator, dtype=torch.float64) * (SIZE - 40)
    return torch.cat([corners, corners + 4 + 20 * torch.rand(BOXES, 2, generator=generator, dtype=torch.float64)], 1)


def suppressed(boxes: Tensor, scores: Tensor) -> "list[int]":
    """Non-maximum suppression by its definition: take the best box, drop what overlaps it too much, and again."""
    kept, left = [], scores.argsort(descending=True).tolist()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    while left:
        best, *others = left
        kept.append(best)
        low, high = torch.max(boxes[best, :2], boxes[others, :2]), torch.min(boxes[best, 2:], boxes[others, 2:])
        common = (high - low).clamp(min=0).prod(dim=1)
        overlap = common / (areas[best] + areas[others] - common)
        left = [other for other, share in zip(others, overlap.tolist()) if share <= OVERLAP]
    return kept


def roi_align_error(boxes: Tensor, reference: Tensor) -> float:
    """Largest difference on a ramp, of which every bin's mean is the ramp's value at the bin's middle."""
    from torchvision.ops import roi_align

    ramp = torch.arange(SIZE, dtype=torch.float64, device=boxes.device)
    image = (ramp[:, None] * 100 + ramp[None, :])[None, None]
    found = roi_align(image, [boxes], output_size=BINS, sampling_ratio=2, aligned=True)[:, 0]
    steps = (torch.arange(BINS, dtype=torch.float64, device=boxes.device) + 0.5) / BINS
    left, top, right, bottom = reference.t()[:, :, None]
    # A pixel's value stands at its middle, half a pixel from its corner.
    across, down = left + (right - left) * steps - 0.5, top + (bottom - top) * steps - 0.5
    return float((found - (down[:, :, None] * 100 + across[:, None, :])).abs().max())


def deformed_error(image: Tensor, generator: torch.Generator) -> float:
    """Largest difference of a deformed convolution without deformation from a plain one; image (n, 3, h, w)."""
    from torchvision.ops import deform_conv2d

    weights = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64).to(image.device)
    number, _, height, width = image.shape
    offsets = torch.zeros(number, 18, height, width, dtype=torch.float64, device=image.device)
    plain = torch.nn.functional.conv2d(image, weights, padding=1)
    return float((deform_conv2d(image, offsets, weights, padding=1) - plain).abs().max())


def transform_error(images: Tensor) -> float:
    """Largest difference of transforms from what they must give; images float32 (n, 3, h, w) in [0, 1]."""
    from torchvision.transforms import CenterCrop, Compose, Normalize, RandomHorizontalFlip, Resize

    half = images.shape[-1] // 2
    start = (images.shape[-1] - half) // 2
    pipeline = Compose([CenterCrop(half), RandomHorizontalFlip(p=1.0), Normalize([0.5] * 3, [0.25] * 3)])
    expected = (images[..., start : start + half, start : start + half].flip(-1) - 0.5) / 0.25
    flat = torch.full_like(images, 0.75)
    return max(
        float((pipeline(images) - expected).abs().max()),
        float((Resize([SIZE, SIZE], antialias=True)(flat) - 0.75).abs().max()),
    )


def png_differs(image: Tensor) -> int:
    """Values that change on the way to PNG and back, by the library that torchvision compiles in; uint8 (3, h, w)."""
    from torchvision.io import decode_png, encode_png

    return int((decode_png(encode_png(image)) != image).sum())


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """What differs between torchvision and the formulas: boxes, pixels, and the largest errors."""
    from torchvision.ops import nms

    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(generator)
    scores = torch.rand(BOXES, generator=generator, dtype=torch.float64)
    # One pixel to the right and, for every second box, to the left, so that overlaps change too.
    shift = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64) * (1 - 2 * (torch.arange(BOXES) % 2))[:, None]
    reference = boxes + shift if options.control else boxes
    images = digits.load()[1].images[:32]
    found = nms(boxes.to(options.device), scores.to(options.device), OVERLAP).tolist()
    return {
        "nms_differs": len(set(found) ^ set(suppressed(reference, scores))),
        "roi_align_error": roi_align_error(boxes.to(options.device), reference.to(options.device)),
        "deformed_error": deformed_error(images.double().to(options.device), generator),
        "transform_error": transform_error(images.to(options.device)),
        "png_differs": png_differs((images[0] * 255).to(torch.uint8)),
        "kept": len(found),
    }


WORKLOAD = Workload(
    measure, LIMITS, "--shifted-boxes", "the formulas get boxes that lie one pixel further", needs=needs
)

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
