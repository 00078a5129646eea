"""A journal torn anywhere goes on from its last complete tile; another run's is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rsunivlm.geo.journal import Journal, pack_mask, unpack_mask

PRINT = {"model": "a", "tiles": {"tile": 64}}
TILES = [
    [{"tile": 0, "valid": "all"}, *({"tile": 0, "question": q, "answer": {"text": "é"}} for q in (0, 1))],
    [{"tile": 1, "valid": "none"}],
    [{"tile": 2, "error": "damaged"}],
    [{"tile": 3, "valid": "all"}, *({"tile": 3, "question": q, "answer": {"text": "b"}} for q in (0, 1))],
]


@given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_masks_survive(mask):
    assert (unpack_mask(pack_mask(mask), mask.shape) == mask).all()


def test_torn_at_any_byte_it_ends_the_same(tmp_path):
    whole = tmp_path / "whole"
    with Journal(whole, PRINT, questions=2) as journal:
        journal.append(TILES[:1])
        journal.append(TILES[1:])
    content = whole.read_bytes()
    torn = tmp_path / "torn"
    for length in range(len(content) + 1):
        torn.write_bytes(content[:length])
        with Journal(torn, PRINT, questions=2) as journal:
            assert journal.resumed == (journal.tiles > 0)
            journal.append(TILES[journal.tiles :])
        assert torn.read_bytes() == content, length


def test_another_run_is_refused_and_restart_forgets_it(tmp_path):
    path = tmp_path / "journal"
    with Journal(path, PRINT, questions=2) as journal:
        journal.append(TILES)
    with pytest.raises(ValueError, match=r"answers of another run \(it differs in: model\); .*--restart"):
        Journal(path, PRINT | {"model": "b"}, questions=2)
    with Journal(path, PRINT | {"model": "b"}, questions=2, restart=True) as journal:
        assert journal.tiles == 0
    assert [json.loads(line)["fingerprint"]["model"] for line in path.open()] == ["b"]


def test_two_runs_cannot_share_one(tmp_path):
    with Journal(tmp_path / "journal", PRINT, questions=2) as journal:
        journal.append(TILES)
        with pytest.raises(ValueError, match="another run is writing"):
            Journal(tmp_path / "journal", PRINT, questions=2, restart=True)
    with Journal(tmp_path / "journal", PRINT, questions=2) as journal:
        assert journal.tiles == 4


def test_damage_in_the_middle_is_named(tmp_path):
    path = tmp_path / "journal"
    with Journal(path, PRINT, questions=2) as journal:
        journal.append(TILES)
    lines = path.read_bytes().split(b"\n")
    lines[2] = b"{"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match="line 3 is damaged"):
        Journal(path, PRINT, questions=2)


def test_numbers_survive_the_fingerprint(tmp_path):
    given_numbers = {"stretch": [[np.float64(0.1).item(), 1 / 3]], "tuple": (1, 2)}
    Journal(tmp_path / "journal", given_numbers, questions=1).__exit__(None, None, None)
    with Journal(tmp_path / "journal", given_numbers, questions=1) as journal:
        assert journal.tiles == 0
