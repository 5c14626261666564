"""Cells: the combinations that a matrix names, each with all it is to contain."""

from dataclasses import dataclass, field
from functools import cached_property

from torchdev.catalog import ids
from torchdev.catalog.axes import ANY, Query
from torchdev.catalog.ids import COMPANIONS
from torchdev.catalog.releases import cuda_of
from torchdev.util.positions import Position


@dataclass(frozen=True, order=True, kw_only=True)
class Cell:
    """One combination of Python, CUDA variant, PyTorch, cuDNN, variant and architecture, with all its requirements.

    `legacy` says why one should move on from it; `unlocked`, why it may be without a lock.
    """

    python: str
    flavour: str
    torch: str
    requirements: tuple[str, ...]
    position: Position = field(compare=False)
    constraints: tuple[str, ...] = ()
    cudnn: "str | None" = None
    variant: str = ids.PLAIN
    arch: str = ids.AMD64
    legacy: "str | None" = field(default=None, compare=False)
    slim: bool = True
    unlocked: "str | None" = field(default=None, compare=False)

    @cached_property
    def id(self) -> str:
        """The name of the cell: its folder, tag, test id and selector."""
        return ids.cell_id(self.python, self.flavour, self.torch, self.cudnn, self.variant, self.arch)

    @cached_property
    def short(self) -> str:
        """The short tag, such as py311-cu130, that points at the newest PyTorch of those that have it."""
        return ids.short_tag(self.python, self.flavour, self.cudnn, self.variant, self.arch)

    @property
    def platform(self) -> str:
        """The platform as registries and engines name it, such as linux/arm64."""
        return f"linux/{self.arch}"

    @property
    def cuda(self) -> "str | None":
        """The CUDA version, such as 13.0 for cu130; None for cpu."""
        return cuda_of(self.flavour)

    @property
    def devel(self) -> bool:
        """Whether nvcc and CUDA's headers are part of it."""
        return self.variant == ids.DEVEL

    def query(self) -> Query:
        """The query that is possible if the cell can exist."""
        found = {"python": self.python, "cuda": self.flavour, "torch": self.torch}
        found |= {"cudnn": self.cudnn} if self.cudnn else {}
        found |= {"variant": self.variant} if self.devel else {}
        found |= {"arch": self.arch} if self.arch != ids.AMD64 else {}
        return found | dict.fromkeys(self.companions, ANY)

    @property
    def companions(self) -> "dict[str, str]":
        """Its torchvision and torchaudio, with their versions."""
        pins = (requirement.partition("==") for requirement in self.requirements)
        return {name: version for name, _, version in pins if name in COMPANIONS}
