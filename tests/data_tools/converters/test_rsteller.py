"""RSTeller: pairs out of archives or folders, names that lead outside, archives cut short."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.converter import Sample, Settings
from data_tools.converters.rsteller import CONVERTERS
from data_tools.report import ConversionReport

(RSTELLER,) = CONVERTERS


def picture(value: int) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def texts(*captions: str) -> bytes:
    return json.dumps({"annotations": [{"task": 1, "text": caption} for caption in captions]}).encode()


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Write a tar file of (name, bytes); bytes None makes a symbolic link to /etc/passwd."""

    def write(name: str, *members: tuple[str, bytes | None]) -> Path:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for member, data in members:
                header = tarfile.TarInfo(member)
                if data is None:
                    header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
                else:
                    header.size = len(data)
                tar.addfile(header, BytesIO(data or b""))
        return path

    return write


def convert(tmp_path: Path) -> tuple[list[Sample], ConversionReport]:
    report = ConversionReport("rsteller")
    settings = Settings(tmp_path / "root", out=tmp_path / "out")
    assert RSTELLER.find_splits(settings.root) == ("train",)
    return list(RSTELLER.read("train", settings, report)), report


def test_all_captions_are_kept_and_images_copied_as_they_are(
    tmp_path: Path, archive: Callable[..., Path]
) -> None:
    archive("Patches0001.tar", ("./7.json", texts("A field.")), ("./7.jpg", picture(1)))
    archive("JPG/train-000000.tar", ("5.jpg", picture(2)), ("5.json", texts(" A road.", "A way.")))
    samples, report = convert(tmp_path)
    assert [(sample.id, sample.images, sample.answers) for sample in samples] == [
        ("train-JPG-train-000000-5", ("images/JPG/train-000000/5.jpg",), ("A road.", "A way.")),
        ("train-Patches0001-7", ("images/Patches0001/7.jpg",), ("A field.",)),
    ]
    assert (tmp_path / "out/images/Patches0001/7.jpg").read_bytes() == picture(1)
    assert not report.bad
    half = tmp_path / "out/images/Patches0001/7.jpg"
    half.write_bytes(half.read_bytes()[:9])
    assert convert(tmp_path)[0] == samples
    assert half.read_bytes() == picture(1)
    assert not list((tmp_path / "out").rglob(".*"))


def test_bad_pairs_and_names_that_lead_outside_are_named(
    tmp_path: Path, archive: Callable[..., Path]
) -> None:
    archive(
        "a.tar",
        ("1.jpg", picture(1)),
        ("2.json", texts("A lake.")),
        ("../3.jpg", picture(1)),
        ("/4.jpg", picture(1)),
        ("5.jpg", None),
        ("5.json", texts("A link.")),
        ("6.jpg", b"\xff\xd8"),
        ("6.json", texts("A stump.")),
        ("7.jpg", picture(1)),
        ("7.json", b'{"annotations": ['),
        ("8.jpg", picture(1)),
        ("8.json", texts("Good.", "")),
    )
    samples, report = convert(tmp_path)
    assert samples == []
    assert set(report.bad) == {
        "a/1",
        "a/2",
        "a.tar member ../3.jpg",
        "a.tar member /4.jpg",
        "a.tar member 5.jpg",
        "a/5",
        "a/6",
        "a/7",
        "a/8",
    }
    assert "is only half a pair" in report.bad["a/1"]
    assert "is no plain file" in report.bad["a.tar member 5.jpg"]
    assert "unreadable" in report.bad["a/6"]
    assert "not valid JSON" in report.bad["a/7"]
    assert not (tmp_path / "3.jpg").exists()
    assert not list((tmp_path / "out").rglob("*.jpg"))


@pytest.mark.parametrize("damage", [600, 1536, 1600, 2048, "gzip"])
def test_a_damaged_archive_stops(tmp_path: Path, archive: Callable[..., Path], damage: int | str) -> None:
    """Cut in a file, behind one, in a header, behind one; or packed as no archive here is."""
    path = archive("a.tar", ("1.jpg", picture(1)), ("1.json", texts("A lake.")), ("2.jpg", picture(1)))
    data = path.read_bytes()
    path.write_bytes(b"\x1f\x8b" + data if damage == "gzip" else data[:damage])
    with pytest.raises(ValueError, match=r"a\.tar is cut short or no plain tar file"):
        convert(tmp_path)


def test_unpacked_pairs_are_used_where_they_lie(tmp_path: Path) -> None:
    folder = tmp_path / "root/Patches0000"
    folder.mkdir(parents=True)
    (folder / "607.jpg").write_bytes(picture(1))
    (folder / "607.json").write_bytes(texts("A road."))
    (folder / "607.txt").write_text("A road.")
    (tmp_path / "root/README.md").write_text("")
    samples, report = convert(tmp_path)
    assert [sample.images for sample in samples] == [("Patches0000/607.jpg",)]
    assert not report.bad
    assert not (tmp_path / "out").exists()
    (folder / "607.jpg").unlink()
    with pytest.raises(ValueError, match="holds no pairs"):
        convert(tmp_path)
