"""What is to be labelled: rows of a CSV file, pictures of a folder, or the digits that ship with scikit-learn.

Every reader is bounded, and says which file, line or byte is wrong and how to mend it. Knows files; knows nothing of
tasks, miners or money.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Literal, TypeAlias

from tercet.errors import SubnetError, UsageError
from tercet.subnets.kit.beacon import lottery
from tercet.subnets.labelling.pictures import MAX_PICTURE_BYTES, SUFFIXES, shrink

__all__ = [
    "MAX_CLASSES",
    "MAX_ITEMS",
    "MAX_LABEL",
    "MAX_TEXT",
    "Collection",
    "Item",
    "Kind",
    "digits",
    "own_digits",
    "read_collection",
    "read_csv",
    "read_folder",
]

Kind: TypeAlias = Literal["text", "gray", "image"]

MAX_ITEMS = 100_000
"""Of one collection."""
MAX_CLASSES = 64
MAX_LABEL = 80
"""Characters of a label."""
MAX_TEXT = 4_000
"""Characters of an item's text."""
_MAX_FILE = 64 << 20
_MAX_COLUMNS = 64
_MAX_NAME = 200
_DELIMITERS = ",;\t|"
_HELD_OUT, _OWN = 300, 500
"""Of the 1797 digits: kept to measure what labels are worth, and left for miners to learn from."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to be labelled."""

    kind: Kind
    data: bytes
    """UTF-8 text; or pixels row by row, 0 black to 255 white; or the bytes of a PNG or JPEG file."""
    width: int = 0
    """Of pixels; 0 for the other kinds."""

    @property
    def height(self) -> int:
        """Rows of pixels; 0 for the other kinds."""
        return len(self.data) // self.width if self.width else 0

    @property
    def digest(self) -> bytes:
        """Equal for equal items, and for no others."""
        return hashlib.sha256(f"{self.kind} {self.width} ".encode() + self.data).digest()


@dataclass(frozen=True, slots=True)
class Collection:
    """Items with what is known of them."""

    name: str
    question: str
    classes: tuple[str, ...]
    """The labels to choose from."""
    ids: tuple[str, ...]
    """Unique, in the file's order."""
    items: tuple[Item, ...]
    known: tuple[int, ...]
    """For each item the index of its label in `classes`, -1 where nobody has said it yet."""
    held_out: tuple[tuple[Item, int], ...] = field(default=(), repr=False)
    """Items with their labels that are never asked about: what labels are worth is measured on them."""

    def known_indices(self) -> list[int]:
        """Of the items whose label is known."""
        return [index for index, label in enumerate(self.known) if label >= 0]

    def unknown_indices(self) -> list[int]:
        """Of those whose label is not."""
        return [index for index, label in enumerate(self.known) if label < 0]

    def truths(self) -> Mapping[bytes, int]:
        """Digest to known label. Equal items that are said to be different things are known to nobody."""
        found: dict[bytes, int] = {}
        for item, label in zip(self.items, self.known, strict=True):
            if label >= 0:
                found[item.digest] = label if found.get(item.digest, label) == label else -1
        return {digest: label for digest, label in found.items() if label >= 0}


def read_collection(source: str | Path, *, classes: Sequence[str] = (), question: str = "") -> Collection:
    """The collection that `source` names: `digits`, a folder of pictures, or a CSV file.

    Raises:
        UsageError: there is nothing of that name, or it cannot be read; the message says what to mend.
        SubnetError: a package that it needs is missing.

    """
    if str(source) == "digits":
        return digits()
    path = Path(source).expanduser()
    if path.is_dir():
        return read_folder(path, classes=classes, question=question)
    if path.is_file():
        return read_csv(path, classes=classes, question=question)
    raise UsageError(f"There is no file or folder {str(path)!r}. Name a CSV file, a folder of pictures, or `digits`.")


# digits


def digits() -> Collection:
    """997 of scikit-learn's handwritten digits (8 x 8, UCI), with 300 others held out. All are known."""
    pictures, labels = _load_digits()
    order = _digit_order(len(labels))
    asked, kept = order[_OWN + _HELD_OUT :], order[_OWN : _OWN + _HELD_OUT]
    return Collection(
        name="digits",
        question="Which digit is this?",
        classes=tuple("0123456789"),
        ids=tuple(f"digit-{index}" for index in asked),
        items=tuple(pictures[index] for index in asked),
        known=tuple(labels[index] for index in asked),
        held_out=tuple((pictures[index], labels[index]) for index in kept),
    )


def own_digits(seed: int, count: int = 300) -> Sequence[tuple[Item, int]]:
    """`count` labelled digits that a miner may have: drawn by `seed` from 500 that are never asked about."""
    pictures, labels = _load_digits()
    mine = lottery(b"labelling own digits", seed).sample(_digit_order(len(labels))[:_OWN], count)
    return [(pictures[index], labels[index]) for index in mine]


def _load_digits() -> tuple[list[Item], list[int]]:
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - heavy, and only where digits are used
    except ImportError as error:
        raise SubnetError("The digits come with scikit-learn. Install it: pip install 'tercet[labelling]'") from error
    found = load_digits()
    pixels = (255 - 15 * found.images.reshape(len(found.target), 64)).astype("uint8")
    return [Item("gray", row.tobytes(), 8) for row in pixels], [int(label) for label in found.target]


def _digit_order(count: int) -> list[int]:
    order = list(range(count))
    lottery(b"labelling digits").shuffle(order)
    return order


# CSV


def read_csv(path: Path, *, classes: Sequence[str] = (), question: str = "") -> Collection:
    """Rows of a CSV file with a header.

    A column `id` names the rows (else their number does), a column `label` holds what is known already and may be
    empty, and the rest is the item: the column `text` when there is one, else all others as `column: value` lines.

    Raises:
        UsageError: it is no such file; the message names the byte, the line or the column.

    """
    header, rows = _parse_csv(path)
    names = [name.strip().lower() for name in header]
    id_at = names.index("id") if "id" in names else None
    label_at = names.index("label") if "label" in names else None
    body_at = [names.index("text")] if "text" in names else [n for n in range(len(names)) if n not in (id_at, label_at)]
    if not body_at:
        raise UsageError(
            f"{path} has no column to look at, only {', '.join(map(repr, header))}. Add a column named 'text'."
        )
    ids: dict[str, int] = {}
    items, labels = [], []
    for line, row in rows:
        name = row[id_at].strip() if id_at is not None else str(len(ids) + 1)
        _check_id(path, name, line, ids)
        items.append(Item("text", _row_text(path, header, row, body_at, line).encode()))
        labels.append(row[label_at].strip() if label_at is not None else "")
    if not items:
        raise UsageError(f"{path} has a header and no rows. Add rows under it.")
    return _build(path, question or "Which label fits?", classes, list(ids), items, labels, "column 'label'")


def _parse_csv(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    text = _read_text(path)
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UsageError(f"{path}, line 1, is no CSV: {error}. Mend the header's quotes.") from error
    lowered = Counter(name.strip().lower() for name in header)
    if not header or not any(lowered):
        raise UsageError(f"{path} is empty. The first line of a CSV file names its columns, such as: id,text")
    if len(header) > _MAX_COLUMNS:
        raise UsageError(f"{path} has {len(header)} columns, at most {_MAX_COLUMNS} are read. Leave the others out.")
    twice = next((name for name, count in lowered.items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"{path} has two columns named {twice!r}. Rename one of them.")
    return header, _rows(path, reader, len(header))


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _MAX_FILE:
            raise UsageError(
                f"{path} has {size >> 20} MiB, at most {_MAX_FILE >> 20} are read at a time. Split it: split -l 50000 FILE"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Mend that, or name another file.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        name, code = ("UTF-16", "UTF-16") if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else ("Latin-1", "LATIN1")
        raise UsageError(
            f"{path} is not UTF-8: byte {raw[error.start]:#04x} at offset {error.start} (line {line}). "
            f"If it is {name}, mend it with: iconv -f {code} -t UTF-8 FILE > NEW.csv"
        ) from error


def _rows(path: Path, reader: Iterator[list[str]], width: int) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that is not empty."""
    count = 0
    while True:
        line = reader.line_num + 1  # type: ignore[attr-defined]  # csv's reader has it, its type does not
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UsageError(
                f"{path}, line {line}, is no CSV: {error}. Mend its quotes, or shorten the cell: a text has at most {MAX_TEXT} characters."
            ) from error
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != width:
            raise UsageError(
                f"{path}, line {line}, has {len(row)} cells and the header {width}. Quote cells that contain the delimiter."
            )
        count += 1
        if count > MAX_ITEMS:
            raise UsageError(f"{path} has more than {MAX_ITEMS:,} rows. Split it: split -l 50000 FILE")
        yield line, row


def _check_id(path: Path, name: str, line: int, ids: dict[str, int]) -> None:
    if not 1 <= len(name) <= _MAX_NAME:
        raise UsageError(f"{path}, line {line}: an id has 1 to {_MAX_NAME} characters, this one {len(name)}.")
    if name in ids:
        raise UsageError(f"{path} has the id {name!r} twice, in lines {ids[name]} and {line}. Make ids unique.")
    ids[name] = line


def _row_text(path: Path, header: Sequence[str], row: Sequence[str], at: Sequence[int], line: int) -> str:
    text = (
        row[at[0]]
        if len(at) == 1
        else "\n".join(f"{header[n].strip()}: {row[n].strip()}" for n in at if row[n].strip())
    )
    text = text.strip()
    if not text:
        raise UsageError(f"{path}, line {line}, has nothing to look at. Fill it in, or leave the row out.")
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"{path}, line {line}: a text of {len(text)} characters, at most {MAX_TEXT} are shown. Shorten it."
        )
    return text


# folders


def read_folder(path: Path, *, classes: Sequence[str] = (), question: str = "") -> Collection:
    """The PNG and JPEG files of a folder; those in a folder of its own carry that folder's name as their label.

    Links are passed over. Pictures that are large are made smaller, which needs Pillow.

    Raises:
        UsageError: there are none, too many, or one is broken.
        SubnetError: Pillow is needed and missing.

    """
    files = sorted(
        found
        for pattern in ("*", "*/*")
        for found in path.glob(pattern)
        if found.suffix.lower() in SUFFIXES
        and found.is_file()
        and not found.is_symlink()
        and not found.parent.is_symlink()
    )
    if not files:
        raise UsageError(
            f"{path} has no {', '.join(sorted(SUFFIXES))} files. Name a folder of pictures, or a CSV file."
        )
    if len(files) > MAX_ITEMS:
        raise UsageError(f"{path} has {len(files):,} pictures, at most {MAX_ITEMS:,} are read. Split the folder.")
    items = [Item("image", shrink(file, MAX_PICTURE_BYTES)) for file in files]
    labels = [file.parent.name if file.parent != path else "" for file in files]
    ids = [str(file.relative_to(path)) for file in files]
    return _build(path, question or "What is this?", classes, ids, items, labels, "folders")


def _build(
    path: Path,
    question: str,
    classes: Sequence[str],
    ids: Sequence[str],
    items: Sequence[Item],
    labels: Sequence[str],
    where: str,
) -> Collection:
    chosen = tuple(dict.fromkeys(label.strip() for label in classes)) or tuple(sorted({*labels} - {""}))
    if len(chosen) < 2:
        seen = f"--labels names {len(chosen)}" if any(classes) else f"{path} has {len(chosen)} in its {where}"
        raise UsageError(f"Which labels are there? {seen}, and two or more are needed. Say them: --labels cat,dog")
    if len(chosen) > MAX_CLASSES:
        raise UsageError(
            f"{len(chosen)} labels are too many to choose from, at most {MAX_CLASSES}. Say them: --labels a,b"
        )
    bad = next((label for label in chosen if not 1 <= len(label) <= MAX_LABEL), None)
    if bad is not None:
        raise UsageError(f"A label has 1 to {MAX_LABEL} characters, one has {len(bad)}. Shorten it.")
    at = {label: index for index, label in enumerate(chosen)}
    stranger = next(compress(zip(ids, labels, strict=True), (label and label not in at for label in labels)), None)
    if stranger is not None:
        raise UsageError(
            f"{path}: {stranger[0]!r} is labelled {stranger[1]!r}, which is none of {', '.join(chosen)}. Add it to --labels, or mend it."
        )
    known = tuple(at[label] if label else -1 for label in labels)
    return Collection(path.name, question, chosen, tuple(ids), tuple(items), known)
