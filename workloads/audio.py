"""Compare torchaudio's spectrogram, resampling and filter with formulas, on tones.

python -m workloads.audio           # peaks within a bin, samples within 0.01
python -m workloads.audio --detune  # must fail: the tones are a semitone higher than the formulas say
"""

import argparse
import importlib.util
import math
import sys

import torch
from torch import Tensor

from workloads import harness
from workloads.harness import CannotRun, Limit, Workload

LIMITS = {
    "peak_error_bins": Limit("<=", 1.0),
    "resampling_error": Limit("<=", 0.01),
    "filter_error": Limit("<=", 1e-6),
    "decibel_error": Limit("<=", 1e-4),
}
RATE = 16_000
"""Samples per second; a tone lasts one second."""
WINDOW = 1024
TONES = 8
SEMITONE = 2 ** (1 / 12)


def needs(_: argparse.Namespace) -> None:
    """Torchaudio, which has no releases for PyTorch after 2.11; if it is installed but broken, that is a failure."""
    if importlib.util.find_spec("torchaudio") is None:
        raise CannotRun("torchaudio is not installed")


def sines(frequencies: Tensor, rate: int) -> Tensor:
    """One second of a sine for each frequency in Hz: (n,) to (n, rate)."""
    times = torch.arange(rate, dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * frequencies[:, None].cpu() * times).to(frequencies.device)


def peak_error(tones: Tensor, frequencies: Tensor) -> float:
    """Largest distance, in bins of RATE / WINDOW Hz, of a spectrogram's peak from the frequency."""
    from torchaudio.transforms import Spectrogram

    peaks = Spectrogram(n_fft=WINDOW).to(tones.device)(tones.float()).mean(dim=2).argmax(dim=1)
    return float((peaks - frequencies * WINDOW / RATE).abs().max())


def resampling_error(tones: Tensor, frequencies: Tensor) -> float:
    """Largest difference of tones at half the rate from the sines themselves, away from both ends."""
    from torchaudio.functional import resample

    found = resample(tones, RATE, RATE // 2, lowpass_filter_width=64)
    return float((found - sines(frequencies, RATE // 2))[:, 500:-500].abs().max())


def filter_error(device: torch.device, pole: float) -> float:
    """Largest difference of a one-pole filter's answer to an impulse from the powers of its pole."""
    from torchaudio.functional import lfilter

    impulse = torch.zeros(100, dtype=torch.float64, device=device)
    impulse[0] = 1.0
    recursive = torch.tensor([1.0, -pole], dtype=torch.float64, device=device)
    direct = torch.tensor([1.0, 0.0], dtype=torch.float64, device=device)
    powers = pole ** torch.arange(100, dtype=torch.float64, device=device)
    return float((lfilter(impulse, recursive, direct) - powers).abs().max())


def decibel_error(device: torch.device) -> float:
    """Largest difference of decibels from ten times the logarithm."""
    from torchaudio.functional import amplitude_to_DB

    power = torch.logspace(-3, 3, 13, dtype=torch.float64, device=device)
    expected = torch.linspace(-30, 30, 13, dtype=torch.float64, device=device)
    return float((amplitude_to_DB(power, 10.0, 1e-10, 0.0) - expected).abs().max())


def measure(options: argparse.Namespace, seed: int) -> "dict[str, object]":
    """Largest errors: of peaks in bins, of samples in the unit of the amplitude, of decibels."""
    generator = torch.Generator().manual_seed(seed)
    drawn = 300 + 2700 * torch.rand(TONES, generator=generator, dtype=torch.float64)
    frequencies = drawn.to(options.device)
    tones = sines(frequencies * (SEMITONE if options.control else 1), RATE)
    return {
        "peak_error_bins": peak_error(tones, frequencies),
        "resampling_error": resampling_error(tones, frequencies),
        "filter_error": filter_error(options.device, 0.9),
        "decibel_error": decibel_error(options.device),
    }


WORKLOAD = Workload(measure, LIMITS, "--detune", "the tones are a semitone higher than the formulas say", needs=needs)

if __name__ == "__main__":
    sys.exit(harness.main(WORKLOAD, __doc__))
