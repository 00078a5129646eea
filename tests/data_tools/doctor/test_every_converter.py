"""What a converter writes is sound: the doctor agrees with every one of them on its fixture."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures import fixtures
from golden import converted

from data_tools.doctor.examination import examine
from data_tools.doctor.findings import Kind, Severity

# Fixtures are tiny: some use one picture for several images or list an image in two splits on purpose.
ALIKE = {Kind.SHARED_IMAGE, Kind.DUPLICATE_IMAGE, Kind.KNOWN_KIN}


@pytest.mark.parametrize("name", sorted(fixtures()))
def test_doctor_finds_no_error_in_a_conversion(name: str, tmp_path: Path) -> None:
    converted(name, tmp_path)
    exam = examine([tmp_path / "out"], deep=True)
    errors = [
        finding
        for finding in exam.findings.kept
        if finding.severity is Severity.ERROR and finding.kind not in ALIKE
    ]
    assert errors == []
    assert exam.records.total() > 0
