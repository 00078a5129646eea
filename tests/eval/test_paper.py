"""The published tables: what must follow from what, and where it does not, a footnote that says so."""

from decimal import ROUND_HALF_UP, Decimal
from statistics import mean

import pytest

from eval.paper import TABLES


def values(number, method, *columns):
    return [TABLES[number].value(method, column) for column in columns or TABLES[number].columns]


def rounded(number, places="0.01"):
    return number.quantize(Decimal(places), ROUND_HALF_UP)


def about(number, method, column):
    """Texts of the footnotes on a cell, its row included."""
    notes = TABLES[number].notes
    return " ".join(
        note.text for note in notes if note.concerns(method, column) or note.concerns(method, None)
    )


def test_tables_are_complete():
    assert sorted(TABLES) == [2, 3, 4, 5, 6, 7, 8]
    assert [len(TABLES[number].rows) for number in range(2, 9)] == [9, 7, 6, 9, 6, 6, 4]
    for table in TABLES.values():
        assert all(len(cells) == len(table.columns) for cells in table.rows.values())
        for note in table.notes:
            assert set(note.methods) <= set(table.rows)
            assert set(note.columns) <= set(table.columns)


def test_digits_are_kept_as_printed():
    assert TABLES[4].rows["CogVLM*-17B"] == ("44.50", "30.2", "20.31", "15.22")
    assert TABLES[5].rows["RSICCFomer"][-1] == "130.00"
    assert TABLES[4].value("H2RSVLM-7B", "DIOR-RSVG @0.7") is None
    assert TABLES[8].value("G-MoE", "Trainable parameters") == 313
    with pytest.raises(TypeError):
        TABLES[2].rows["LLaVA-1.5"] = ()


def test_table_2_averages_follow_but_for_two_that_are_flagged():
    wrong = []
    for method in TABLES[2].rows:
        *parts, lr_mean = values(2, method)[:4]
        if rounded(mean(parts)) != lr_mean:
            wrong.append((method, "LR Avg.", rounded(mean(parts))))
        *parts, hr_mean = values(2, method)[4:]
        if rounded(mean(parts)) != hr_mean:
            wrong.append((method, "HR Avg.", rounded(mean(parts))))
    assert wrong == [
        ("SkyEyeGPT-7B", "LR Avg.", Decimal("84.19")),
        ("SkyEyeGPT-7B", "HR Avg.", Decimal("80.07")),
    ]
    for method, column, right in wrong:
        assert str(right) in about(2, method, column)


def test_table_2_fractions_are_those_of_the_whole_test_split():
    # 100 + 2955 + 4002 questions that are neither counting nor area questions
    right, asked = (92, 2704, 3708), (100, 2955, 4002)
    assert sum(asked) == 7057
    found = [rounded(Decimal(100 * hits) / count) for hits, count in zip(right, asked, strict=True)]
    assert found == values(2, "RSUniVLM-1B")[:3]
    assert all(
        f"{hits}/{count}" in about(2, "RSUniVLM-1B", "LR Compare")
        for hits, count in zip(right, asked, strict=True)
    )


def test_table_2_rows_in_another_order():
    table = TABLES[2]
    assert list(table.reordered) == ["GeoChat-7B", "SkyEyeGPT-7B", "LHRS-Bot-7B"]
    for method, cells in table.reordered.items():
        printed = table.rows[method]
        assert cells != printed
        assert sorted(cells[:3]) == sorted(printed[:3])
        assert cells[3:] == printed[3:]
        # Shares of 100 rural/urban questions are whole per cents: only the re-ordered row has one there.
        assert Decimal(cells[0]) % 1 == 0
        assert Decimal(printed[0]) % 1 != 0
        assert "order" in about(2, method, "LR Rural/Urban")


def test_table_6_row_contradicts_itself_and_the_others_do_not():
    def derived(method):
        f1, precision, recall, accuracy, iou = (float(value) / 100 for value in values(6, method))
        from_parts = 2 * precision * recall / (precision + recall)
        errors_per_changed = (1 - recall) + recall * (1 - precision) / precision
        changed = (1 - accuracy) / errors_per_changed
        return f1, from_parts, iou, from_parts / (2 - from_parts), changed

    for method in TABLES[6].rows:
        f1, from_parts, iou, iou_from_parts, changed = derived(method)
        if method == "RSUniVLM":
            assert round(100 * from_parts, 2) == 70.36
            assert round(100 * iou_from_parts, 2) == 54.28
            assert 0.128 < changed < 0.129
        else:
            assert f1 == pytest.approx(from_parts, abs=2e-4)
            assert iou == pytest.approx(iou_from_parts, abs=2e-4)
            assert 0.0395 < changed < 0.0398
    note = about(6, "RSUniVLM", "F1")
    assert all(fact in note for fact in ("not comparable", "70.36", "54.28", "12.8 to 12.9 %"))


def test_table_7_averages_follow():
    for method in TABLES[7].rows:
        *parts, average = values(7, method)
        assert (
            rounded(mean(parts), "0.1" if average == average.quantize(Decimal("0.1")) else "0.01") == average
        )


def test_table_8_against_tables_2_and_4():
    types = [column for column in TABLES[2].columns if "Avg." not in column]
    assert rounded(mean(values(2, "RSUniVLM-1B", *types))) == TABLES[8].value("G-MoE", "VQA")
    averages = mean(values(2, "RSUniVLM-1B", "LR Avg.", "HR Avg."))
    assert rounded(averages) == Decimal("91.45")
    assert "91.45" in about(8, "G-MoE", "VQA")
    grounding = mean(values(4, "RSUniVLM-1B", "DIOR-RSVG @0.5", "VRSBench-Ref @0.5"))
    assert grounding == Decimal("70.89") != TABLES[8].value("G-MoE", "VG")
    assert "70.89" in about(8, "G-MoE", "VG")
    gains = [
        TABLES[8].value("G-MoE", column) - TABLES[8].value("Full-parameter", column)
        for column in ("VQA", "VG")
    ]
    assert gains == [Decimal("1.35"), Decimal("5.63")]
