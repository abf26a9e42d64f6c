"""Input files: CSV, CSV.gz or Parquet as rows of text, and one clear line where that fails."""

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.imports import InputError

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


@dataclass(frozen=True)
class Table:
    """A file with a header: its columns in `plain` spelling, and its rows with their line numbers.

    `rows` reads as it goes, once; each row has as many cells as there are columns, missing is ''.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Sequence[str]]]

    def place(self, wanted: str, *, synonyms: Sequence[str] = ()) -> int:
        """Return where a column stands.

        Raises
        ------
        InputError
            The file has no such column.
        """
        for name in (wanted, *synonyms):
            if name in self.columns:
                return self.columns.index(name)
        raise InputError(
            f"{self.path} has no column {wanted} (it has {', '.join(self.columns)}):"
            " name it so in the file's first line"
        )


def plain(column: str) -> str:
    """Return a column's name in lower case words joined by underscores.

    Examples
    --------
    >>> plain("Track Name"), plain("userID")
    ('track_name', 'userid')
    """
    return re.sub(r"[^a-z0-9]+", "_", column.strip().lower()).strip("_")


def find(folder: Path, name: str) -> Path | None:
    """Return the file `name` of a folder, packed or not, or None."""
    candidates = (folder / name, folder / name.removesuffix(".gz"))
    return next((path for path in candidates if path.is_file()), None)


def sha256_of(paths: Iterable[Path]) -> str:
    """Return the sha256 of the files' bytes, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_table(path: Path) -> Table:
    """Open a CSV, gzipped CSV or Parquet file, told apart by their first bytes.

    Raises
    ------
    InputError
        Here, or while the rows are read: no such file, not readable, empty, cut off, not UTF-8, a
        line with more or fewer cells than the header.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    rows = _parquet(path) if head == _PARQUET else _csv(path, packed=head.startswith(_GZIP))
    _, header = next(rows, (0, ()))
    if not header:
        raise InputError(f"{path} is empty: the first line must name the columns")
    return Table(path, tuple(map(plain, header)), rows)


def _csv(path: Path, *, packed: bool) -> Iterator[tuple[int, Sequence[str]]]:
    line = 0
    try:
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            width = 0
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if not row:
                    continue  # a blank line
                width = width or len(row)
                if len(row) != width:
                    raise InputError(
                        f"{path}, line {line}: {len(row)} cells where the header has {width}:"
                        " mend the line (an unclosed quote?)"
                    )
                yield line, row
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 after line {line}: save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}, after line {line}: {error}: mend the line") from None
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"{path} is damaged or cut off after line {line} ({error}): fetch it again"
        ) from None


def _parquet(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    import pandas as pd  # noqa: PLC0415 - only Parquet needs it

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} is not a whole Parquet file ({reason}): fetch it again") from None
    yield 0, [str(column) for column in frame.columns]
    cells = frame.astype(object).where(frame.notna(), None)  # one spelling of missing
    for number, row in enumerate(cells.itertuples(index=False, name=None), start=1):
        yield number, [_text(value) for value in row]


def _text(value: object) -> str:
    """Return a Parquet value as a CSV would spell it; lists are joined by '|', null is ''."""
    if value is None:
        return ""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "|".join(map(str, value))
    return str(value)
