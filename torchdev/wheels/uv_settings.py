"""uv's settings: uv itself checks its files and variables; this module combines them as uv does.

tests/unit/wheels/test_uv_settings.py compares the result with `uv pip compile --show-settings`.
"""

import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from uv import find_uv_bin

from torchdev.util import redact
from torchdev.util.files import is_endless
from torchdev.util.texts import line_not_utf8, shown
from torchdev.wheels.settings import TIMEOUT, Location, Settings, hosts, locations, refusal

ASK = ("pip", "compile", "--show-settings", "--offline", "--no-cache", "requirements.in")
"""A command by which uv reads all its settings, does nothing, and fails if one is invalid."""
TRUE = ("1", "true", "t", "yes", "y", "on")
PROXIES = {"http-proxy": "HTTP_PROXY", "https-proxy": "HTTPS_PROXY", "no-proxy": "NO_PROXY"}
VARIABLES = {"UV_DEFAULT_INDEX": True, "UV_INDEX_URL": True, "UV_INDEX": False, "UV_EXTRA_INDEX_URL": False}
"""Variables that name indexes, in uv's order, and whether the index replaces PyPI."""
TEMPORARY = re.compile(r'(?m)^\W*(?:error|cause|Caused by): (.+?)(?: \(os error \d+\))? at path ".*/\.tmp\w{6}"')
"""uv's message if it can't make a temporary file, with the reason."""
NAMING = ("UV_DEFAULT_INDEX", "UV_INDEX")
"""Variables whose value may be NAME=URL."""
Table = dict[str, Any]
Listed = tuple[Location, Table]
"""An index and its other settings: name, default, explicit, format."""


def read(environment: Mapping[str, str], folder: Path) -> Settings:
    """The settings of uv in a folder; InputError for settings that uv refuses or that builds can't use."""
    _ask(environment, folder)
    return merged(tuple(files(environment, folder)), environment, folder)


def _ask(environment: Mapping[str, str], folder: Path) -> None:
    """Have uv check its settings."""
    if (named := environment.get("UV_CONFIG_FILE")) and is_endless(folder / named):
        raise refusal("it is not a file", f"UV_CONFIG_FILE={shown(named)}")
    try:
        done = subprocess.run([find_uv_bin(), *ASK], cwd=folder, env=dict(environment), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, errors="replace", timeout=TIMEOUT)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise refusal(f"uv does not answer within {TIMEOUT} s", "uv's settings") from None
    except OSError as error:
        raise refusal(f"uv can't be asked for its settings: {error.strerror}", find_uv_bin()) from None
    if done.returncode:
        if unwritten := TEMPORARY.search(done.stderr):
            where = f"TMPDIR={shown(named)}" if (named := environment.get("TMPDIR")) else "/tmp"
            step = "set TMPDIR to a folder that this user may write to"
            raise refusal(f"uv can't write temporary files there: {unwritten[1]}", where, step)
        what, where = reason(done.stderr, folder)
        raise refusal(what, where, "mend it, or uv can't read it either")


def reason(errors: str, folder: Path) -> "tuple[str, str]":
    """The error of uv and the file or variable it is about; without the line that uv repeats, which may be secret."""
    text = "\n".join(line for line in errors.splitlines() if not re.match(r"\s*([0-9]+ )?\|", line))
    file = re.search(r"(?:Failed to parse|open file|read file|read)(?: environment variable)?:? `([^`]+)`", text)
    text = re.sub(r"with invalid value `[^`]*`", "with an invalid value", text)
    words = " ".join(re.sub(r"(?m)^\s*(error|cause|Caused by):\s*", "", text).split())
    value = re.search(r"invalid value '[^']*' for '(--[\w-]+)", words)
    where = file[1] if file else (f"uv's {value[1]}, or the variable for it" if value else "uv's settings")
    if file and re.search(r"\.toml$", where) and not Path(where).is_absolute():
        where = str(folder / where)
    words = re.sub(r"invalid value '[^']*' for", "invalid value for", words)
    words = re.sub(r"(unknown field `[^`]*`), expected.*", r"\1", words)
    return redact.urls(words)[:400] or "uv refuses its settings", where


def files(environment: Mapping[str, str], folder: Path) -> "Iterator[tuple[Path, Table]]":
    """The configuration files that uv reads in a folder, the nearest first."""
    if named := environment.get("UV_CONFIG_FILE"):
        yield folder / named, _toml(folder / named)
        return
    if environment.get("UV_NO_CONFIG", "").lower() in TRUE:
        return
    for location in (folder, *folder.parents):
        if (location / "uv.toml").is_file():
            yield location / "uv.toml", _toml(location / "uv.toml")
            break
        own = _of_project(location / "pyproject.toml")
        if own is not None:
            yield location / "pyproject.toml", own
            break
    for path in _of_machine(environment):
        yield path, _toml(path)


def _of_machine(environment: Mapping[str, str]) -> "Iterator[Path]":
    """The configuration files of the user and of the system, if they exist."""
    home = environment.get("HOME")
    configuration = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    user = [Path(configuration, "uv", "uv.toml")] if Path(configuration).is_absolute() else []
    folders = (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    system = [*(Path(name, "uv", "uv.toml") for name in folders if name), Path("/etc/uv/uv.toml")]
    for paths in (user, system):
        yield from [path for path in paths if path.is_file()][:1]


def _toml(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise refusal("it is not text in UTF-8", f"{path}:{line_not_utf8(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise refusal(f"not TOML: {shown(error)}", str(path)) from None  # the message repeats the line
    except (OSError, ValueError, RecursionError) as error:
        raise refusal(f"can't be read: {type(error).__name__}", str(path)) from None


def _of_project(path: Path) -> "Table | None":
    """The table of uv in a pyproject.toml, if it has one."""
    if not path.is_file():
        return None
    tool = _toml(path).get("tool")
    own = tool.get("uv") if isinstance(tool, dict) else None
    return own if isinstance(own, dict) else None


def merged(tables: "tuple[tuple[Path, Table], ...]", environment: Mapping[str, str], folder: Path) -> Settings:
    """Combine files, the nearest first, and variables, which override them, as `uv pip` does."""
    listed = list(_first_of_each_name([*_of_variables(environment), *_named(tables, environment)]))
    extra, index, links = _lists(tables, environment, folder)
    defaults = [location for location, entry in listed if entry.get("default")]
    flat = [location for location, entry in listed if entry.get("format") == "flat" and not entry.get("explicit")]
    chosen = [*defaults, *index]
    plain = ("explicit", "default")
    others = [p for p, e in listed if not any(e.get(key) for key in plain) and e.get("format") != "flat"]
    _refuse_unsupported(tables, [entry for _, entry in listed], environment)
    return Settings(
        index=chosen[0] if chosen else None,
        extra=(*others, *extra),
        links=(*flat, *links),
        no_index=bool(_first(tables, "no-index")),
        trusted=_trusted(tables, environment),
    )


def _of_variables(environment: Mapping[str, str]) -> "Iterator[Listed]":
    """The indexes that variables name, as NAME=URL or URL; the older variables know no names."""
    for variable, default in VARIABLES.items():
        for word in environment.get(variable, "").split():
            name, url = _name_and_url(word) if variable in NAMING else ("", word)
            location = _with_login(Location(url, variable), name, environment).checked()
            yield location, {"name": name, "default": default}


def _name_and_url(word: str) -> "tuple[str, str]":
    match = re.fullmatch(r"([A-Za-z0-9_.-]+)=(.+)", word)
    return (match[1], match[2]) if match else ("", word)


def _named(tables: "tuple[tuple[Path, Table], ...]", environment: Mapping[str, str]) -> "Iterator[Listed]":
    """The entries [[index]] of files."""
    for path, table in tables:
        for entry in table.get("index", ()):
            location = Location(_from(path.parent, entry["url"]), f"{path}, [[index]]").checked()
            yield _with_login(location, entry.get("name", ""), environment), entry


def _first_of_each_name(listed: "Iterable[Listed]") -> "Iterator[Listed]":
    """Entries without those whose name an earlier one has."""
    seen: set[str] = set()
    for location, entry in listed:
        name = entry.get("name", "")
        if name not in seen:
            yield location, entry
        seen.update({name} - {""})


def _lists(
    tables: "tuple[tuple[Path, Table], ...]", environment: Mapping[str, str], folder: Path
) -> "tuple[tuple[Location, ...], tuple[Location, ...], tuple[Location, ...]]":
    """Extra indexes, indexes that replace PyPI, and pages or folders: those of [pip] come first."""
    extra: tuple[Location, ...] = ()
    words = [word.strip() for word in environment.get("UV_FIND_LINKS", "").split(",") if word.strip()]
    links = locations((_from(folder, word) for word in words), "UV_FIND_LINKS")
    index: tuple[Location, ...] = ()
    for part in ("pip", ""):
        for path, whole in tables:
            table = whole.get("pip", {}) if part else whole
            here = f"{path}{', [pip]' if part else ''}"
            relative = [_from(path.parent, url) for url in table.get("extra-index-url", ())]
            extra += locations(relative, f"{here}, extra-index-url")
            links += locations((_from(path.parent, url) for url in table.get("find-links", ())), f"{here}, find-links")
            if "index-url" in table:
                index += locations([_from(path.parent, table["index-url"])], f"{here}, index-url")
    return extra, index, links


def _from(folder: Path, location: str) -> str:
    """A URL unchanged, or a path relative to the folder of its file; uv does not expand ~."""
    return location if "://" in location else str(folder / location)


def _with_login(location: Location, name: str, environment: Mapping[str, str]) -> Location:
    """An index with the credentials from UV_INDEX_NAME_USERNAME and _PASSWORD for its name."""
    key = re.sub(r"[^A-Z0-9]", "_", name.upper())
    user, password = (environment.get(f"UV_INDEX_{key}_{part}", "") for part in ("USERNAME", "PASSWORD"))
    if not name or not (user or password) or location.folder:
        return location
    parts = urlsplit(location.text)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    netloc = f"{login}@{parts.netloc.rpartition('@')[2]}"
    return Location(urlunsplit(parts._replace(netloc=netloc)), location.where)


def _first(tables: "Iterable[tuple[Path, Table]]", key: str) -> Any:
    """The value of a key in the nearest file that has it; [pip] has precedence."""
    tables = tuple(tables)
    parts = [*(table.get("pip", {}) for _, table in tables), *(table for _, table in tables)]
    return next((part[key] for part in parts if key in part), None)


def _trusted(tables: "tuple[tuple[Path, Table], ...]", environment: Mapping[str, str]) -> tuple[str, ...]:
    found = hosts(environment.get("UV_INSECURE_HOST", "").split(), "UV_INSECURE_HOST")
    for path, table in tables:
        values = [*table.get("pip", {}).get("allow-insecure-host", ()), *table.get("allow-insecure-host", ())]
        found += hosts((re.sub(r"^https?://|/$", "", value) for value in values), f"{path}, allow-insecure-host")
    return tuple(dict.fromkeys(found))


def _refuse_unsupported(
    tables: "tuple[tuple[Path, Table], ...]", entries: "Iterable[Table]", environment: Mapping[str, str]
) -> None:
    """Refuse settings that uv obeys and builds can't use."""
    for entry in entries:
        if entry.get("authenticate") == "never":
            what = "an index that is never to be given credentials can't be handed to builds"
            raise refusal(what, f"uv's [[index]] {entry.get('name', '')}".strip(), "take authenticate away")
    for key, variable in PROXIES.items():
        value = _first(tables, key)
        words = ",".join(value) if isinstance(value, list) else value
        if words and (environment.get(variable.lower()) or environment.get(variable)) != words:
            what = "it holds for uv alone, and torchdev, pip and Debian's apt need the proxy, too"
            raise refusal(what, f"uv's setting {key}", f"set {variable} to the same")
