"""How images leave a builder, and what its garbage collection keeps, by driver, image store and policy. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchdev.util.amounts import read_bytes

ZSTD = "compression=zstd,compression-level=1,oci-mediatypes=true"
"""zstd -1 packs 13 times as fast as gzip, to about the same size; Docker's own media types don't know it."""
OWN = "docker"
"""The driver of the engine's own BuildKit."""
OLD_SIZE, RESERVED, MOST, LEAST_FREE = "Keep Bytes", "Reserved Space", "Max Used Space", "Min Free Space"
"""What `buildx inspect` calls the sizes in a rule; older ones the first, newer ones the others."""
DEFAULT_SHARE = 10
"""Percent of the disk that BuildKit keeps of its cache, unless it is told otherwise (read in moby 26.1)."""


def containerd_store(info: "Mapping[str, Any]") -> bool:
    """Whether the engine keeps images in containerd's store, by what `docker info` says."""
    return "io.containerd.snapshotter.v1" in str(info.get("DriverStatus"))


def load_output(driver: str, *, containerd: bool) -> str:
    """The output by which a builder's image gets into the engine.

    The classic store takes layers from the engine's own BuildKit as they are. containerd's store compresses every
    layer, and other builders send the image as an archive: both by gzip, on one core, unless told otherwise.
    """
    if driver == OWN and not containerd:
        return "type=docker"
    return f"type=image,{ZSTD}" if driver == OWN else f"type=docker,{ZSTD}"


def cache_output(ref: str) -> str:
    """Where a build leaves its cache: in a registry, with the steps of all stages."""
    return f"type=registry,ref={ref},mode=max,{ZSTD}"


def cache_input(ref: str) -> str:
    """Where a build looks for what other machines have built."""
    return f"type=registry,ref={ref}"


@dataclass(frozen=True, kw_only=True)
class BuilderConfig:
    """Builder configuration: which builder builds, and where its output and its cache go.

    `builder` is empty for the current one. `cache_from` and `cache_to` are repositories, with a tag for each cell and
    one for each set of shared layers.
    """

    builder: str = ""
    driver: str = OWN
    containerd: bool = False
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""

    @property
    def options(self) -> "list[str]":
        """Options of the buildx command line."""
        return [f"--builder={self.builder}"] if self.builder else []

    def target(self, cell: str, shared: str) -> "dict[str, Any]":
        """The settings of a cell's target in a bake file; none that are bake's defaults."""
        plain = self.driver == OWN and not self.containerd
        found = {
            "output": [] if plain else [load_output(self.driver, containerd=self.containerd)],
            "cache-from": [
                cache_input(f"{ref}:{tag}") for ref in self.cache_from for tag in (cell, shared_tag(shared))
            ],
            "cache-to": [cache_output(f"{self.cache_to}:{cell}")] if self.cache_to else [],
        }
        return {key: value for key, value in found.items() if value}

    def stage(self, shared: str) -> "dict[str, str]":
        """The settings of a stage that only fills the cache; `shared` is its digest if several cells need it."""
        caching = cache_output(f"{self.cache_to}:{shared_tag(shared)}") if self.cache_to and shared else ""
        return {"output": "type=cacheonly", "tags": "", **({"cache-to": caching} if self.cache_to else {})}


def shared_tag(shared: str) -> str:
    """The cache tag of layers that several cells share, by their digest."""
    return f"shared-{shared[:16]}"


def refusal(builder: BuilderConfig) -> str:
    """Why a builder can't do what the options ask for; empty if nothing is known against it."""
    if builder.cache_to and builder.driver == OWN and not builder.containerd:
        return "the engine's own builder, with the classic image store, can't write its cache to a registry"
    return ""


@dataclass(frozen=True)
class Policy:
    """One rule of a builder's garbage collection: the bytes it keeps, and whether it is limited to some kinds of
    entries.
    """

    keep: int
    filtered: bool


def read_policies(text: str) -> "list[Policy] | None":
    """The rules with sizes that `buildx inspect` prints; None if it prints no rules at all."""
    rules = re.split(r"^GC Policy rule#\d+:$", text, flags=re.MULTILINE)[1:]
    found = ((_kept_by(rule), "Filters:" in rule) for rule in rules)
    return [Policy(keep, filtered) for keep, filtered in found if keep is not None] if rules else None


def _kept_by(rule: str) -> "int | None":
    """Bytes that a rule always keeps; None if it sets no size.

    Anything above the reserved space is removed when more than the maximum is used, or less than the minimum is free.
    """
    sizes = {
        name: read_bytes(text) for name, text in re.findall(r"^ *([A-Z][\w ]+): +([0-9.]+ ?[kKMGT]?i?B) *$", rule, re.M)
    }
    if not sizes.keys() & {OLD_SIZE, RESERVED, MOST, LEAST_FREE}:
        return None
    sure = max(sizes.get(OLD_SIZE, 0), sizes.get(RESERVED, 0))
    return sure if LEAST_FREE in sizes else max(sure, sizes.get(MOST, 0))


def kept(policies: "list[Policy] | None", disk: "int | None") -> "int | None":
    """Bytes of cache that a builder always keeps; a share of the disk if it prints no rules; None if not known."""
    if policies is None:
        return disk * DEFAULT_SHARE // 100 if disk else None
    return min((policy.keep for policy in policies if not policy.filtered), default=None)


def keeping(wanted: int) -> str:
    """The line for /etc/docker/daemon.json that keeps so many bytes of cache, rounded up to whole GB."""
    amount = f"{-(-wanted // 10**9)}GB"
    return f'"builder": {{"gc": {{"enabled": true, "defaultKeepStorage": "{amount}"}}}}'
