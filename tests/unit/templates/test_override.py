"""The step that makes PyTorch accept another cuDNN than the one it pins."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

METADATA = """Name: torch
Requires-Dist: nvidia-cudnn-cu13==9.20.0.48; platform_system == "Linux"
Requires-Dist: nvidia-cudnn-cu13-extra==1.0
Requires-Dist: nvidia-cublas==13.1.1.3
"""


@pytest.fixture
def program(load_step: Callable[[str], Any]) -> Any:
    """The program as a module, at work on a folder of the test's own."""
    return load_step("override/accept-version")


def test_pin_is_changed_and_recorded(program: Any, tmp_path: Path) -> None:
    """That one pin, and the line of RECORD that vouches for the file."""
    info = tmp_path / "torch-2.13.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "RECORD").write_text("torch/x.py,sha256=abc,1\ntorch-2.13.0.dist-info/METADATA,sha256=old,9\n")
    assert program.accept(info / "METADATA", "nvidia-cudnn-cu13", "9.24.0.43")
    assert (info / "METADATA").read_text() == METADATA.replace("9.20.0.48", "9.24.0.43")
    digest = base64.urlsafe_b64encode(hashlib.sha256((info / "METADATA").read_bytes()).digest()).rstrip(b"=").decode()
    size = (info / "METADATA").stat().st_size
    expected = f"torch/x.py,sha256=abc,1\ntorch-2.13.0.dist-info/METADATA,sha256={digest},{size}\n"
    assert (info / "RECORD").read_text() == expected


def test_package_without_the_pin_is_left_alone(program: Any, tmp_path: Path) -> None:
    """No change, no word."""
    info = tmp_path / "numpy-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: numpy\n")
    assert not program.accept(info / "METADATA", "nvidia-cudnn-cu13", "9.24.0.43")
