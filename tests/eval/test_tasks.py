"""Protocols: what the tasks share by name and differ in by value."""

import argparse

import pytest

from eval import sc, vqa
from eval.options import add_protocol_options, given_switches
from eval.tasks import TASK_MODULES, protocol_of, task_module
from rsunivlm.tasks import Task


def test_a_switch_takes_the_values_of_its_task():
    assert protocol_of(sc, "strict", {"match": "lcs"})["match"] == "lcs"
    assert protocol_of(vqa, "paper", {"counts": True}) == {
        "name": "paper",
        "match": "lhrs",
        "counts": True,
        "empty_is_right": False,
    }
    with pytest.raises(ValueError, match=r"--match lcs does not apply to this task; use .*'lhrs'"):
        protocol_of(vqa, "strict", {"match": "lcs"})
    with pytest.raises(ValueError, match=r"--cc-norm does not apply to this task; its switches: --match"):
        protocol_of(sc, "strict", {"cc_norm": "raw"})


def test_an_option_that_tasks_share_takes_the_values_of_all():
    parser = argparse.ArgumentParser()
    add_protocol_options(parser, Task.SC, Task.VQA)
    for value in ("exact", "lcs", "lhrs", "contains"):
        assert given_switches(parser.parse_args(["--match", value])) == {"match": value}
    text = " ".join(parser.format_help().split())
    assert "sc: which class an answer names" in text
    assert "vqa: when an answer is right" in text


@pytest.mark.parametrize("task", TASK_MODULES)
def test_every_task_has_valid_protocols(task):
    module = task_module(task)[1]
    for switch in module.SWITCHES:
        assert switch.takes(switch.strict)
        assert switch.takes(switch.paper)
