"""The Docker Engine's client: buildx builds, docker-py does everything else. No other package talks to the engine."""

import contextlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from torchdev.catalog.wheel_name import ARCHITECTURES
from torchdev.engine import buildx, connection
from torchdev.engine import gpus as gpu_requests
from torchdev.engine.refusals import DOCTOR, container_error, short
from torchdev.util.errors import BuildError, EngineError, GpuError
from torchdev.util.redact import Private
from torchdev.wheels import remote

REGISTRY_SECONDS, TIMEOUT = 90, 600
"""Timeouts: for a digest, and for any other answer, since removing or starting a large image can take minutes."""
CELL_VARIABLE, CELL_LABEL = "TORCHDEV_CHECKED_CELL", "io.torchdev.check"
"""Variable that tells the process of the checks its cell; also the label of the containers that it starts."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of the engine. `size` is in bytes, `layers` are the diffIDs, lowest first.

    `pushed` are its names by digest in the registries that it was pushed to or pulled from.
    """

    id: str
    size: int
    layers: tuple[str, ...]
    labels: Mapping[str, str]
    pushed: tuple[str, ...] = ()


@connection.told
class Engine:
    """A connection to the engine that DOCKER_HOST or the current docker context names, as for the docker command."""

    def __init__(self) -> None:
        try:
            self._client = connection.client(os.environ, TIMEOUT)
            self._client.ping()
        except (DockerException, OSError) as error:
            raise connection.unanswered(os.environ, short(error)) from None

    @connection.reads
    def version(self) -> str:
        """The engine's version."""
        return str(self._client.version()["Version"])

    @connection.reads
    def info(self) -> dict[str, Any]:
        """The engine's own description of itself (docker info)."""
        return dict(self._client.info())

    @connection.reads
    def platform(self) -> str:
        """The platform that the engine runs without emulation, such as linux/amd64."""
        machine = str(self.info()["Architecture"])
        return f"linux/{ARCHITECTURES.get(machine, machine)}"

    @connection.reads
    def disk(self) -> "Path | None":
        """The folder where the engine keeps its data, if the engine is on this machine."""
        root = str(self.info().get("DockerRootDir") or "")
        here = self._client.api.base_url == "http+docker://localhost"
        return Path(root) if here and root and Path(root).is_dir() else None

    @connection.reads
    def image(self, name: str) -> "Image | None":
        """An image by name, or None if the engine does not have it."""
        try:
            found = self._client.images.get(name)
        except ImageNotFound:
            return None
        layers, pushed = (found.attrs["RootFS"].get("Layers", ()), found.attrs.get("RepoDigests") or ())
        return Image(
            id=str(found.id),
            size=int(found.attrs["Size"]),
            layers=tuple(layers),
            labels=dict(found.labels),
            pushed=tuple(pushed),
        )

    @connection.reads
    def names(self) -> "dict[str, tuple[str, Mapping[str, str]]]":
        """Every name of an image that the engine has, with the image's id and labels."""
        listed = self._client.api.images()
        return {name: (i["Id"], i.get("Labels") or {}) for i in listed for name in i.get("RepoTags") or ()}

    @connection.reads
    def registry_digest(self, name: str) -> "str | None":
        """The digest of an image in its registry, or None where no registry answers or it has no such image."""
        try:
            read, whom = self._client.images.get_registry_data, f"the registry of {name}"
            return remote.within(REGISTRY_SECONDS, lambda: str(read(name).id), whom)
        except (APIError, OSError, remote.Silent):
            return None

    @connection.reads
    def tag(self, image: str, name: str) -> None:
        """Tag an image; a tag of the same name moves to it."""
        repository, _, tag = name.rpartition(":")
        try:
            self._client.images.get(image).tag(repository, tag)
        except APIError as error:
            raise EngineError(
                f"{name}: the engine refuses that name: {connection.said(error)}", next_step=DOCTOR
            ) from None

    @connection.reads
    def untag(self, name: str) -> None:
        """Remove a tag if it exists; the image stays if it has another."""
        try:
            self._client.images.remove(name, noprune=True)
        except ImageNotFound:
            return
        except APIError as error:
            raise EngineError(f"{name} can't be removed: {connection.said(error)}", next_step="docker ps -a") from None

    def give_back(self, name: str, image: str, before: str) -> None:
        """Move a tag from an image back to the image that had it `before`, or remove it if there was none; both are
        ids.

        If the tag points at a third image by now, it stays there.
        """
        current = self.image(name)
        if not current or current.id != image or before == image:
            return
        if before and self.image(before):
            self.tag(before, name)
        else:
            self.untag(name)

    @connection.reads
    def push(self, name: str) -> str:
        """Push a tag to the registry in its name; returns the digest of the pushed image, if the engine tells it.

        BuildError with the registry's message if it refuses, or if the connection breaks.
        """
        repository, _, tag = name.rpartition(":")
        digest, step = "", f"docker login {repository.partition('/')[0]}"
        try:
            for event in self._client.images.push(repository, tag=tag, stream=True, decode=True):
                if "error" in event:
                    raise BuildError(f"the registry refuses: {event['error']}", where=name, next_step=step)
                digest = (event.get("aux") or {}).get("Digest", digest)
        except (APIError, OSError) as error:
            what = connection.said(error) if isinstance(error, APIError) else short(error)
            raise BuildError(f"the engine does not push it: {what}", where=name, next_step=step) from None
        return str(digest)

    @connection.reads
    def layer_sizes(self, name: "str | Image") -> "list[tuple[str, int]]":
        """The layers of an image, lowest first: (diffID, bytes). All layers below torchdev's own steps count as one.

        The engine reports sizes by history entry and not by layer; entries without a layer have no size.
        """
        found = self.image(name) if isinstance(name, str) else name
        if not found:
            raise EngineError(f"the engine has no image {name}", next_step="docker images")
        steps = ("RUN ", "COPY ", "ADD ", "WORKDIR ")
        history = self.history(found.id)
        own = [int(e["Size"]) for e in reversed(history) if str(e["CreatedBy"]).startswith(steps)]
        below = found.layers[: len(found.layers) - len(own)]
        rest = sum(int(entry["Size"]) for entry in history) - sum(own)
        return [(" ".join(below), rest), *zip(found.layers[len(below) :], own, strict=True)]

    @connection.reads
    def containers(self, label: str) -> "list[Container]":
        """Every container with a label, given as key or key=value."""
        return list(self._client.containers.list(all=True, ignore_removed=True, filters={"label": label}))

    @connection.reads
    def remove_containers(self, label: str) -> None:
        """Remove containers that a killed run has left."""
        for container in self.containers(label):
            with contextlib.suppress(NotFound):
                container.remove(force=True)

    @connection.reads
    def load_root(self, archive: Path, name: str, labels: Mapping[str, str]) -> None:
        """Import a tar archive of a root file system as an image of one layer."""
        repository, _, tag = name.rpartition(":")
        changes = [f'LABEL {key}="{value}"' for key, value in labels.items()] + ['CMD ["bash"]']
        self._client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)

    def layout(self, image: str, folder: Path) -> str:
        """Write an image as an OCI layout below a folder, unless it is there: FOLDER@DIGEST of its manifest."""
        layout = folder / image.removeprefix("sha256:")[:16]
        if not (layout / "index.json").exists():
            with tempfile.TemporaryDirectory(dir=_made(folder)) as unfinished:
                with Path(unfinished, "image.tar").open("w+b") as file:
                    file.writelines(self._client.images.get(image).save())
                    file.seek(0)
                    with tarfile.open(fileobj=file) as archive:
                        archive.extractall(Path(unfinished, "image"), filter="data")
                if not Path(unfinished, "image", "index.json").exists():
                    what = "this engine can't save images as OCI layouts, which other builders could take"
                    raise EngineError(what, where=image, next_step="update Docker to 25 or newer")
                Path(unfinished, "image").rename(layout)
        manifest = json.loads((layout / "index.json").read_text(encoding="utf-8"))["manifests"][0]["digest"]
        return f"{layout.resolve()}@{manifest}"

    def saved(self, image: str) -> "Iterator[bytes]":
        """The archive of `docker save`, in chunks as they arrive."""
        return iter(self._client.images.get(image).save())

    def buildx(
        self,
        arguments: "list[str]",
        log: Path,
        on_line: "buildx.OnLine | None" = None,
        private: Private = buildx.NOTHING,
    ) -> None:
        """Run `docker buildx` with its output in a log, and pass each line to `on_line`; BuildError if it fails."""
        buildx.run(arguments, log, on_line, private)

    @contextmanager
    def container(self, image: str, *, gpus: bool = False, **options: Any) -> Iterator[Container]:
        """A running container that sleeps, with every GPU of the engine if asked for; it is removed afterwards."""
        requests = gpu_requests.request(self.info())[0] if gpus else []
        made: Container | None = None
        try:
            options = {"shm_size": "1g", "device_requests": requests, "labels": _labels(), **options}
            made = _created(self._client, image, options)
            made.start()
            yield made
        except APIError as error:
            raise container_error(image, connection.said(error)) from None
        except connection.FAILURES as error:
            raise connection.failed(error) from None
        finally:
            if made:
                made.remove(force=True, v=True)

    @contextmanager
    def network(self, name: str) -> Iterator[str]:
        """A network in which containers find each other by name; it is removed afterwards."""
        made = self._client.networks.create(name, labels=_labels())
        try:
            yield name
        finally:
            made.remove()

    @connection.reads
    def run(self, image: str, command: "list[str]", **options: Any) -> "tuple[int, str]":
        """Run a command through the image's entry point; returns its exit status and output."""
        try:
            made = self._client.containers.create(image, command, labels=_labels(), **options)
        except APIError as error:
            raise container_error(image, connection.said(error)) from None
        try:
            made.start()
            status = int(made.wait()["StatusCode"])
            return status, made.logs().decode(errors="replace")
        finally:
            made.remove(force=True, v=True)

    @connection.reads
    def created_with(self, image: str, **options: Any) -> dict[str, Any]:
        """The host configuration that the engine records for a container with these options; the container is not
        started.
        """
        made = self._client.containers.create(image, **options)
        try:
            return dict(made.attrs["HostConfig"])
        finally:
            made.remove(force=True)

    @connection.reads
    def config(self, image: str) -> dict[str, Any]:
        """An image's configuration: Env, Labels, Entrypoint, Cmd, WorkingDir, User."""
        return dict(self._client.images.get(image).attrs["Config"])

    @connection.reads
    def environment(self, image: str) -> "list[str]":
        """The variables that an image sets, as NAME=value."""
        return list(self.config(image).get("Env") or [])

    @connection.reads
    def history(self, image: str) -> "list[dict[str, Any]]":
        """What an image's history records, newest first: CreatedBy, and the Size that it added, in bytes."""
        return [dict(entry) for entry in self._client.api.history(image)]  # type: ignore[no-untyped-call]

    @connection.reads
    def layer_folders(self, image: str) -> "list[str]":
        """The folders of an image's unpacked layers on the engine's machine, lowest first; empty if not known."""
        data = (self._client.images.get(image).attrs.get("GraphDriver") or {}).get("Data") or {}
        upper, lower = data.get("UpperDir"), data.get("LowerDir")
        return [*reversed(lower.split(":") if lower else []), *([upper] if upper else [])]

    def gpu_refusal(self, image: str) -> "GpuError | None":
        """Why the engine gives no GPU to a container of this image, and the next step; None if it does."""
        try:
            with self.container(image, gpus=True):
                return None
        except GpuError as error:
            return error


@connection.reads
def _created(client: DockerClient, image: str, options: "Mapping[str, Any]") -> Container:
    """A container that will sleep. No method of the engine: those hide why it refuses, which its caller tells apart."""
    return client.containers.create(image, ["sleep", "infinity"], **options)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _labels() -> dict[str, str]:
    """A label for containers of a cell's checks, so that they can be found if the run is killed."""
    cell = os.environ.get(CELL_VARIABLE)
    return {CELL_LABEL: cell} if cell else {}


def copy_into(container: Container, source: Path, target: str) -> None:
    """Copy a folder, without caches, into a container; this also works with remote engines."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(source, arcname=source.name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    container.put_archive(target, buffer.getvalue())
