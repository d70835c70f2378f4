"""What a config names – a path, a glob, a folder, a list, a URL – as the files that are meant."""

import fnmatch
import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.errors import InputFileError
from utils.logs import get_logger
from utils.readers.places.remote import Entry, Remote, check_url, open_connection, scheme_of
from utils.readers.places.storage import Source, missing_file
from utils.readers.spec import Access

logger = get_logger(__name__)

LIST_SUFFIX = ".txt"
DATA_SUFFIXES = (
    ".root",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".ipc",
    ".csv",
    ".json",
    ".jsonl",
    ".ndjson",
    ".h5",
    ".hdf5",
)
_COMPRESSED = (".gz", ".bz2", ".zst", ".xz")
_PARQUET = (".parquet", ".pq")
# `#` begins a comment at the beginning of a line or after a blank, not within a URL.
_COMMENT = re.compile(r"(^|\s)#.*")


def expand_paths(pattern: str, access: Access = Access()) -> list[str]:
    """The files that a config names.

    Parameters
    ----------
    pattern : a path or URL of a file; a glob (`**` for any folders), sorted; a folder, meaning the data files in it,
        sorted, where a folder `NAME.parquet` is one of files of its own; a list `NAME.txt`, one of all these per line,
        `#` begins a comment, relative paths count from the list's folder, else from here.
        What neither exists here nor is a URL is looked for behind the redirector.
    access : redirector, name node, retries.

    Raises
    ------
    InputFileError : nothing is there; with the nearest name in the folder.
    """
    if pattern.endswith(LIST_SUFFIX):
        return list(_listed(pattern, access))
    return _expanded(pattern, access)


def join(folder: str, name: str) -> str:
    """`folder/name`, for paths and URLs; a `name` that is absolute or a URL is taken as it is."""
    if scheme_of(name) is not None or name.startswith("/"):
        return name
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def below(folder: str, path: str) -> str:
    """`path` as seen from `folder`, whose files keep these names wherever it lies; else `path` itself."""
    if scheme_of(folder) is None and scheme_of(path) is None:
        return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path
    prefix = _slashes(folder).rstrip("/") + "/"
    return _slashes(path).removeprefix(prefix) if _slashes(path).startswith(prefix) else path


def _slashes(url: str) -> str:
    """With single slashes only: `root://host//a` and `root://host/a` differ in nothing else."""
    return re.sub(r"/{2,}", "/", url)


def redirected(redirector: str, path: str) -> str:
    """`path` behind a redirector, with two slashes after the host where XRootD wants them."""
    scheme, _, rest = redirector.partition("://")
    host, _, prefix = rest.partition("/")
    inside = "/".join(part for part in (prefix.strip("/"), path.lstrip("/")) if part)
    return f"{scheme}://{host}{'//' if 'root' in scheme else '/'}{inside}"


def _expanded(pattern: str, access: Access) -> list[str]:
    if scheme_of(pattern) is not None:
        return _remote_files(pattern, access)
    pattern = pattern.removeprefix("file://")
    path = Path(pattern)
    if path.is_dir():
        return [join(pattern, name) for name in _local_data(path)]
    if path.is_file():
        return [pattern]
    if glob.has_magic(pattern):
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if found:
            return [file for name in found for file in _entered(name, access)]
    if access.redirector is not None:
        return _remote_files(redirected(access.redirector, pattern), access)
    if glob.has_magic(pattern):
        raise InputFileError(f"no file matches '{pattern}'", remedy="Check input_path and input_filename_template.")
    raise missing_file(path)


def _entered(name: str, access: Access) -> list[str]:
    """What a glob found: a file, or the files of a Parquet folder."""
    if not Path(name).is_dir():
        return [name]
    return _expanded(name, access) if name.endswith(_PARQUET) else []


def _listed(name: str, access: Access) -> Iterator[str]:
    """The files on a list; each line may be whatever a config may name."""
    if scheme_of(name) is None and not Path(name.removeprefix("file://")).is_file() and access.redirector is not None:
        name = redirected(access.redirector, name)
    with Source(name, access).open() as file:
        text = file.read().decode("utf-8-sig", "replace")
    lines = [_COMMENT.sub("", line).strip() for line in text.splitlines()]
    folder = name.rpartition("/")[0] or "."
    n_lines = 0
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        n_lines += 1
        where = f"{name}, line {number}"
        if line.endswith(LIST_SUFFIX):
            raise InputFileError(f"'{line}' is a list itself", where=where, remedy="Put its lines here.")
        try:
            yield from _expanded(_beside(line, folder), access)
        except InputFileError as error:
            raise InputFileError(error.what, where=where, nearest=error.nearest, remedy=error.remedy) from error
    if not n_lines:
        raise InputFileError("the list of files is empty", where=name, remedy="Write one path or URL per line.")


def _beside(line: str, folder: str) -> str:
    """A relative path counts from the list's folder if it leads somewhere from there."""
    if scheme_of(line) is not None or line.startswith("/"):
        return line
    if scheme_of(folder) is not None:
        return join(folder, line)
    found = join(folder, line)
    is_there = Path(found).exists() or bool(glob.has_magic(line) and glob.glob(found, recursive=True))  # noqa: PTH207
    return found if is_there else line


# --- folders ---


def _local_data(folder: Path) -> list[str]:
    """Names of the data files of a folder."""
    entries = [Entry(path.name, path.is_dir()) for path in sorted(folder.iterdir())]
    names: list[str] = []
    for entry in _data_entries(str(folder), entries):
        inner = (
            [f"{entry.name}/{name}" for name in _local_data(folder / entry.name)] if entry.is_folder else [entry.name]
        )
        names += inner
    return names


def _data_entries(folder: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries of a folder that hold data; what else lies there is logged, nothing at all is an error."""
    seen = [entry for entry in entries if not entry.name.startswith((".", "_")) and not entry.name.endswith(".part")]
    data = [entry for entry in seen if (entry.name.endswith(_PARQUET) if entry.is_folder else _is_data(entry.name))]
    others = [f"{entry.name}/" if entry.is_folder else entry.name for entry in seen if entry not in data]
    if not data:
        holds = f"; it holds {_few(others)}" if others else ""
        raise InputFileError(
            f"no data files in the folder '{folder}'{holds}",
            remedy=f"Name the files, or use a glob; data files end in {' '.join(DATA_SUFFIXES)}.",
        )
    if others:
        logger.info("%s: %s of %s entries are no data files: %s", folder, len(others), len(seen), _few(others))
    return data


def _is_data(name: str) -> bool:
    lowered = name.lower()
    for suffix in _COMPRESSED:
        lowered = lowered.removesuffix(suffix)
    return lowered.endswith(DATA_SUFFIXES)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# --- other machines ---


def _remote_files(url: str, access: Access) -> list[str]:
    check_url(url)
    head, path = _split(url)
    if _has_magic(url, path):
        found = _matching(head, path, access)
        if not found:
            raise InputFileError(
                f"no file matches '{url}'", remedy="Check input_path, input_filename_template, redirector."
            )
        return found
    if not _may_be_folder(url):
        return [url]
    remote = open_connection(url, access)
    try:
        is_folder = url.endswith("/") or remote.find_status().is_folder
        return _remote_data(remote) if is_folder else [url]
    finally:
        remote.close()


def _may_be_folder(url: str) -> bool:
    """Whether it is worth a question: hundreds of files on a list are not asked for one by one."""
    if scheme_of(url) in ("http", "https"):
        return url.endswith("/")
    name = url.rpartition("/")[2]
    return not _is_data(name) or name.endswith(_PARQUET)


def _remote_data(remote: Remote) -> list[str]:
    """The data files of a folder."""
    files: list[str] = []
    for entry in _data_entries(remote.url, remote.find_entries()):
        url = join(remote.url, entry.name)
        files += _remote_data(remote.sibling(url)) if entry.is_folder else [url]
    return files


def _split(url: str) -> tuple[str, str]:
    """`root://host//` and `path`; the bucket of S3 belongs to the head."""
    found = re.match(r"[a-z0-9]+://[^/]*/*", url, re.IGNORECASE)
    assert found is not None
    return found[0], url[found.end() :]


def _has_magic(url: str, path: str) -> bool:
    # `?` begins the query of an HTTP address.
    return "*" in path or "[" in path or ("?" in path and scheme_of(url) not in ("http", "https"))


def _matching(head: str, path: str, access: Access) -> list[str]:
    """The files that a glob matches, sorted, found folder by folder."""
    folder, parts = head, path.split("/")
    while not _has_magic(head, parts[0]):
        folder = join(folder, parts.pop(0))
    first = open_connection(folder, access)
    return sorted(set(_walk(first, folder, parts)))


def _walk(kind: Remote, folder: str, parts: Sequence[str]) -> Iterator[str]:
    """URLs below a folder that match the parts of a path."""
    part, further = parts[0], parts[1:]
    if part == "**" and further:
        yield from _walk(kind, folder, further)
    if not _has_magic(folder, part) and further:  # a plain name between two patterns
        yield from _walk(kind, join(folder, part), further)
        return
    for entry in kind.sibling(folder).find_entries():
        url = join(folder, entry.name)
        if part == "**":
            if entry.is_folder and not entry.name.startswith("."):
                yield from _walk(kind, url, parts)
            continue
        if not fnmatch.fnmatchcase(entry.name, part) or (entry.name.startswith(".") and not part.startswith(".")):
            continue
        if further:
            if entry.is_folder:
                yield from _walk(kind, url, further)
        elif not entry.is_folder:
            yield url
        elif entry.name.endswith(_PARQUET):
            yield from _remote_data(kind.sibling(url))
