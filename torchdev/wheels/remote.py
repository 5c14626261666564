"""Bounds every request to another machine in time, size and redirects: for pages, and for parts of wheels.

requests limits only the wait for each next byte, so a server that sends one now and then would hold a run for ever.
"""

import lzma
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from remotezip import RemoteFetcher, RemoteIOError, RemoteZip, RemoteZipError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from torchdev.util import process, streams
from torchdev.wheels.host import Host

T = TypeVar("T")
TIMEOUT = (10, 30)
"""Seconds to connect, and to wait for each next part of an answer."""
RETRIES = 3
PAGE_SECONDS = 60
"""Seconds for a page of an index, all tries together."""
WHEEL_SECONDS = 600
"""Seconds for reading the needed parts of a wheel."""
LARGEST = 64 * 1024 * 1024
"""The most bytes of a page, or of a part of a wheel. PyTorch's largest page has 4 MB, its library 10."""
NOT_A_WHEEL = (
    RemoteZipError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    LookupError,
    StopIteration,
    ValueError,
    RuntimeError,
    OSError,
)
"""Errors of zipfile and the modules below it for broken files; for encrypted ones, a RuntimeError."""


ANSWERED = (
    requests.TooManyRedirects,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.ContentDecodingError,
)
"""Errors of requests for a server that has answered: endless redirects, content that can't be decoded."""


FETCHING = (requests.RequestException, HTTPError, RemoteIOError)
"""Errors of requests and remotezip for a server that does not answer, or with something that is of no use."""


class Silent(Exception):
    """A server does not answer, or not in time."""


class Untrue(Exception):
    """A server answers with something wrong: a status, a wrong part, another file."""


class Refused(Untrue):
    """A server refuses, or can't answer now: 403, 500. It has sent no wrong data."""


def within(seconds: float, work: Callable[[], T], whom: str) -> T:
    """The result of `work`, or its error; Silent if it takes too long, InterruptedRun after an interrupt.

    If it takes more than a moment, a message says that the run waits for `whom`. The work runs in a thread, because
    nothing else bounds a name look-up, a handshake and a trickle alike. A thread that is given up ends with its
    socket's timeout, and does not keep the program from ending.
    """
    outcome: list[tuple[T | None, BaseException | None]] = []
    done = threading.Event()

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))
        done.set()

    threading.Thread(target=run, daemon=True).start()
    with streams.waiting(whom, seconds):
        came = process.wait_for(done, seconds)
    if not came:
        raise Silent(f"no whole answer within {seconds:g} seconds")
    value, error = outcome[0]
    if error:
        raise error
    return value  # type: ignore[return-value]


@contextmanager
def session(host: Host, *, stays: bool = False) -> Iterator[requests.Session]:
    """A session with this machine's CA bundle, timeouts and retries; with `stays` it follows no redirect to another
    host.

    Its errors are raised as Silent or Untrue.
    """
    with answering(), _Session() as made:
        made.verify = host.verify
        made.max_redirects = 10
        if stays:
            made.hooks["response"].append(_stay)
        yield made


@contextmanager
def answering() -> Iterator[None]:
    """Convert errors of the libraries that fetch to Silent or Untrue."""
    try:
        yield
    except requests.exceptions.ChunkedEncodingError:
        raise Untrue("its answer ends halfway") from None
    except requests.HTTPError as error:
        raise Refused(str(error)) from None
    except ANSWERED as error:
        raise Untrue(str(error)) from None
    except FETCHING as error:
        raise Silent(str(error)) from None


@contextmanager
def unpacking() -> Iterator[None]:
    """Convert errors of the libraries that unpack to Untrue."""
    try:
        yield
    except NOT_A_WHEEL as error:
        raise Untrue(f"it can't be read as a wheel: {error}") from None


def read_wheel(host: Host, location: "str | Path", work: Callable[[zipfile.ZipFile], T], whom: str = "") -> T:
    """What `work` makes of a wheel on this disk, or of one behind a URL, of which only the parts it reads are fetched.

    The only opener of wheels that are not written here. Silent or Untrue, naming `whom` or the location, if it can't
    be read.
    """

    def fetched() -> T:
        with unpacking(), session(host) as made, RemoteZip(location, session=made, fetcher=_Fetcher) as archive:
            return work(archive)

    try:
        if isinstance(location, str) and "://" in location:
            return within(WHEEL_SECONDS, fetched, host.clean(location))
        with unpacking(), zipfile.ZipFile(location) as archive:
            return work(archive)
    except (Silent, Untrue) as error:
        raise type(error)(f"{whom or location}: {error}") from None


def sizes(archive: zipfile.ZipFile) -> "tuple[int, int]":
    """Bytes of a wheel's file, and of all files in it."""
    size = archive.size() if isinstance(archive, RemoteZip) else Path(str(archive.filename)).stat().st_size
    return size, unpacked(archive)


def unpacked(archive: zipfile.ZipFile) -> int:
    """Bytes of all files in a wheel."""
    return sum(entry.file_size for entry in archive.infolist())


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        retry = Retry(
            RETRIES,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        self.mount("https://", _Adapter(max_retries=retry))
        self.mount("http://", _Adapter(max_retries=retry))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or TIMEOUT
        return super().send(request, **options)


class _Adapter(HTTPAdapter):
    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        answer = _Answer()
        answer.__dict__.update(super().build_response(req, resp).__dict__)
        return answer


class _Answer(requests.Response):
    """An answer whose content, also of a redirect, is read up to the largest allowed size only."""

    def iter_content(self, chunk_size: "int | None" = 1, decode_unicode: bool = False) -> Iterator[Any]:
        count = 0
        for chunk in super().iter_content(chunk_size, decode_unicode):
            count += len(chunk)
            if count > LARGEST:
                raise Untrue(f"{self.url} sends more than {LARGEST:,} bytes")
            yield chunk


class _Fetcher(RemoteFetcher):  # type: ignore[misc]
    """Fetches parts of a wheel; an answer with another or a longer part is not read."""

    def _request(self, kwargs: "dict[str, Any]") -> "tuple[Any, str]":
        raw, said = super()._request(kwargs)
        asked = kwargs["headers"].get("Range", "")
        if not _answers(asked, said):
            raw.close()
            raise RemoteZipError(f"asked for {asked or 'all'}, the server sends {said}")
        return raw, said


def _answers(asked: str, said: str) -> bool:
    """Whether a Content-Range answers a Range: bytes=5-9 or, of the end, bytes=-5."""
    try:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        span, _, total = said.removeprefix("bytes ").partition("/")
        begin, _, end = span.partition("-")
        length = int(end) - int(begin) + 1
        longest = int(last) - int(first) + 1 if first else int(last)
    except ValueError:
        return False
    right_place = int(begin) == int(first) if first else total in ("*", str(int(end) + 1))
    return 0 < length <= min(longest, LARGEST) and right_place


def _stay(answer: requests.Response, *_: Any, **__: Any) -> None:
    target = urljoin(answer.url, answer.headers.get("Location", ""))
    if answer.is_redirect and urlsplit(target).netloc != urlsplit(answer.url).netloc:
        raise Untrue(f"{answer.url} redirects to another host: {target}")
