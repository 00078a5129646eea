"""The road to pycocoevalcap and Java: what is missing is named."""

import subprocess
import sys

import pytest

from eval.metrics import coco


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pycocoevalcap.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(ValueError, match=r"pip install 'rsunivlm\[eval\]'"):
        coco.scorer("bleu.bleu")


def test_a_java_that_only_asks_for_an_installation_is_none(monkeypatch, tmp_path):
    stub = tmp_path / "java"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert coco.java.__wrapped__() is None
    stub.write_text("#!/bin/sh\nexit 0\n")
    assert coco.java.__wrapped__() == str(stub)
    stub.unlink()
    assert coco.java.__wrapped__() is None


def test_a_program_that_fails_is_reported_with_its_last_words(monkeypatch, tmp_path):
    def failing(*args, **kwargs):
        return subprocess.CompletedProcess(args, 1, stdout="one\n", stderr="first\nout of memory\n")

    monkeypatch.setattr(coco, "java", lambda: "java")
    monkeypatch.setattr(coco.subprocess, "run", failing)
    with pytest.raises(ValueError, match="code 1 after 1 of 2 lines: out of memory"):
        coco.run_java(["-jar", "x.jar"], ["a", "b"], tmp_path)
    monkeypatch.setattr(coco, "java", lambda: None)
    with pytest.raises(ValueError, match="no Java"):
        coco.run_java([], ["a"], tmp_path)


def test_scored_modules_do_not_load_the_package():
    code = "import eval.cap, eval.cc, eval.reg, sys; print({'pycocoevalcap', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
