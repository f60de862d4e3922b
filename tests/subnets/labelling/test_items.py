"""Readers of CSV files, folders and digits: what they take, and what they say of the rest."""

from __future__ import annotations

import io
import subprocess
import zlib
from pathlib import Path

import pytest

from tercet.errors import UsageError
from tercet.subnets.labelling.items import Collection, digits, own_digits, read_collection
from tercet.subnets.labelling.pictures import MAX_PICTURE_BYTES, encode_png


def write(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_are_items_with_what_is_known_of_them(tmp_path: Path) -> None:
    path = write(tmp_path, "id,text,label\na,good film,good\nb,poor film,bad\nc,a film,\n")
    found = read_collection(path)
    assert (found.ids, found.classes, found.known) == (("a", "b", "c"), ("bad", "good"), (1, 0, -1))
    assert found.items[0].data == b"good film"
    assert (found.known_indices(), found.unknown_indices()) == ([0, 1], [2])


def test_rows_without_a_text_column_show_all_their_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "title;year;note\nAlien;1979;\nHeat;1995;long\n")
    found = read_collection(path, classes=["old", "new"])
    assert [item.data for item in found.items] == [b"title: Alien\nyear: 1979", b"title: Heat\nyear: 1995\nnote: long"]
    assert found.ids == ("1", "2")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("text\n", "no rows"),
        ("id,label\n1,a\n", "no column to look at"),
        ("text,text\na,b\n", "two columns named 'text'"),
        ("text,label\na,x\nb,y,z\n", "line 3, has 3 cells and the header 2"),
        ("id,text,label\n1,a,x\n1,b,y\n", "the id '1' twice, in lines 2 and 3"),
        ("id,text,label\n,a,x\n", "an id has 1 to 200 characters"),
        ("text,label\n  ,x\nb,y\n", "line 2, has nothing to look at"),
        ("text,label\n" + "w" * 5_000 + ",x\n", "a text of 5000 characters, at most 4000"),
        ("text,label\n" + "w" * 200_000 + ",x\n", "line 2, is no CSV: field larger than field limit"),
        ('text,label\n"open,x\n', "is no CSV"),
        ("text\na\nb\n", "Say them: --labels"),
        ("text,label\na,x\nb,x\n", "has 1 in its column 'label'"),
        ("text,label\n" + "\n".join(f"t{n},l{n}" for n in range(70)), "70 labels are too many"),
        ("text,label\na," + "l" * 81 + "\nb,x\n", "A label has 1 to 80 characters"),
        (",".join(f"c{n}" for n in range(70)) + "\n", "70 columns"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_collection(write(tmp_path, content))
    assert complaint in str(caught.value)


def test_a_label_that_is_not_to_choose_from_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'1' is labelled 'cow', which is none of cat, dog"):
        read_collection(write(tmp_path, "text,label\nmoo,cow\n"), classes=["cat", "dog"])


@pytest.mark.parametrize(
    ("encoding", "where"),
    [("latin-1", "byte 0xe9 at offset 21 (line 3)"), ("utf-16", "byte 0xff at offset 0 (line 1)")],
)
def test_a_file_that_is_not_utf8_names_the_byte_and_the_mend_works(tmp_path: Path, encoding: str, where: str) -> None:
    path = write(tmp_path, "text,label\nfine,a\ncafé,b\n".encode(encoding))
    with pytest.raises(UsageError) as caught:
        read_collection(path)
    said = str(caught.value)
    assert where in said
    command = (
        said.partition("mend it with: ")[2].replace("FILE", str(path)).replace("NEW.csv", str(tmp_path / "NEW.csv"))
    )
    subprocess.run(command, shell=True, check=True)
    assert read_collection(tmp_path / "NEW.csv").items[1].data.decode() == "café"


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    found = read_collection(write(tmp_path, b"\xef\xbb\xbftext,label\r\na,x\r\nb,y\r\n"))
    assert [item.data for item in found.items] == [b"a", b"b"]


def test_equal_items_with_different_labels_are_known_to_nobody(tmp_path: Path) -> None:
    found = read_collection(write(tmp_path, "text,label\nsame,x\nsame,y\nother,x\n"))
    assert found.truths() == {found.items[2].digest: 0}


def test_nothing_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file or folder"):
        read_collection(tmp_path / "none.csv")


# pictures


def picture(folder: Path, name: str, size: int = 8) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode_png(bytes(range(size)) * size, size))
    return path


def test_folders_name_the_labels_of_their_pictures(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png", "unknown.png"):
        picture(tmp_path, name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "link.png").symlink_to(tmp_path / "unknown.png")
    found = read_collection(tmp_path)
    assert (found.ids, found.classes, found.known) == (
        ("cat/1.png", "dog/1.png", "unknown.png"),
        ("cat", "dog"),
        (0, 1, -1),
    )


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (900, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    found = read_collection(tmp_path, classes=["a", "b"])
    assert len(found.items[0].data) <= MAX_PICTURE_BYTES
    assert Image.open(io.BytesIO(found.items[0].data)).format == "JPEG"


def bomb() -> bytes:
    """A PNG that claims to be 60,000 x 60,000."""
    raw = bytearray(encode_png(bytes(64), 8))
    raw[16:24] = (60_000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(bytes(raw[12:29])).to_bytes(4, "big")
    return bytes(raw)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"GIF89a", "neither a PNG nor a JPEG"),
        (encode_png(bytes(64), 8)[:40], "broken picture"),
        (bomb(), "more than 64,000,000 pixels"),
    ],
)
def test_a_bad_picture_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "it.png").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_collection(tmp_path, classes=["a", "b"])
    assert complaint in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no \.jpeg, \.jpg, \.png files"):
        read_collection(tmp_path)


# digits


def test_digits_to_learn_from_are_never_asked_about(collection: Collection) -> None:
    """Nor are those that value is measured on."""
    again = digits()
    assert again.ids == collection.ids
    assert (len(collection.items), len(collection.held_out)) == (997, 300)
    asked = {item.digest for item in collection.items}
    own = {item.digest for seed in range(5) for item, _ in own_digits(seed)}
    kept = {item.digest for item, _ in collection.held_out}
    assert asked.isdisjoint(own)
    assert asked.isdisjoint(kept)
    assert own_digits(1) != own_digits(2)
