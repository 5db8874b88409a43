"""Read what ``-f`` names: a file, standard input, or every manifest in a directory.

Edge: files and standard input.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from datamodel.errors import Invalid
from ocicatctl.resources.documents import Located, parse

STDIN = "-"
_SUFFIXES = (".json", ".yaml", ".yml")


def read(
    name: str, stdin: Callable[[], bytes], *, is_recursive: bool = False, may_be_empty: bool = False
) -> tuple[list[Located], list[str]]:
    """Return every object that is there, and what is wrong with what cannot be read.

    Args:
        name: what follows ``-f``.
        stdin: reads standard input to its end.
        is_recursive: whether directories in a directory count.
        may_be_empty: whether a file without any object is right.

    Raises:
        Invalid: there is no such file, or nothing in it.
    """
    found: list[Located] = []
    mistakes: list[str] = []
    for source, content in _contents(name, stdin, is_recursive):
        objects, wrong = parse(content, source)
        if not (objects or wrong or may_be_empty):
            wrong = [f"No resources specified in file {source}"]
        found += objects
        mistakes += wrong
    if not (found or mistakes or may_be_empty):
        raise Invalid(f"No resources specified in directory {name}")
    return found, mistakes


def _contents(
    name: str, stdin: Callable[[], bytes], is_recursive: bool
) -> Iterator[tuple[str, bytes]]:
    if name == STDIN:
        yield "standard input", stdin()
        return
    path = Path(name)
    for file in _manifests(path, is_recursive) if path.is_dir() else [path]:
        try:
            yield str(file), file.read_bytes()
        except OSError as error:
            raise Invalid(f"{file}: {error.strerror or error}") from error


def _manifests(directory: Path, is_recursive: bool) -> Iterable[Path]:
    try:
        files = sorted(directory.rglob("*") if is_recursive else directory.iterdir())
    except OSError as error:
        raise Invalid(f"{directory}: {error.strerror or error}") from error
    return [file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file()]
