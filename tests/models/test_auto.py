"""transformers' Auto classes know the families after a plain `import rsunivlm`, whoever is imported first."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from rsunivlm.models.auto import FAMILIES

LOAD_ALL = """
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText
from transformers import AutoModelForMultimodalLM, AutoProcessor, AutoTokenizer

def load_all():
    configs = [AutoConfig, AutoTokenizer, AutoImageProcessor, AutoProcessor]
    models = [AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM]
    found = [type(auto.from_pretrained(sys.argv[1])).__name__ for auto in configs + models]
    assert found[2:] == [
        "RSUniVLMImageProcessor", "RSUniVLMProcessor", "RSUniVLMModel",
        "RSUniVLMForConditionalGeneration", "RSUniVLMForConditionalGeneration",
    ], found
"""
# Spawned processes begin with nothing: they learn of our classes by unpickling what they are sent.
SPAWNED = """
def child(folder, config):
    from transformers import AutoConfig, AutoProcessor
    loaded = AutoConfig.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    return [type(config), *map(type, loaded)]

if __name__ == "__main__":
    import concurrent.futures, importlib, multiprocessing
    importlib.reload(rsunivlm)
    auto = importlib.reload(importlib.import_module("transformers.models.auto.modeling_auto"))
    assert rsunivlm.RSUniVLMConfig in auto.AutoModelForImageTextToText._model_mapping
    load_all()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        classes = pool.submit(child, sys.argv[1], AutoConfig.from_pretrained(sys.argv[1])).result()
    assert [cls.__name__ for cls in classes] == ["RSUniVLMConfig", "RSUniVLMConfig", "RSUniVLMProcessor"]
    finders = [finder for finder in sys.meta_path if type(finder).__module__ == "rsunivlm.after_import"]
    assert len(finders) == 1, finders
"""
LOADERS = """
import inspect, transformers.activations as module
assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"
assert "torch" in inspect.getsource(module)
"""
PROGRAMS = {
    # modeling_layers is half loaded when it loads the Auto models: registering at once would go in circles.
    "ours first, then a model": (
        "import rsunivlm\nfrom transformers import LlamaForCausalLM" + LOAD_ALL + "load_all()" + LOADERS
    ),
    "theirs first": LOAD_ALL + "import rsunivlm.models.rsunivlm.modeling_rsunivlm\nload_all()",
    "ours first, reloaded, spawned": "import rsunivlm" + LOAD_ALL + SPAWNED,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_order_of_imports(name: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys\n" + PROGRAMS[name])
    result = subprocess.run([sys.executable, program, tiny_checkpoint], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_modules_still_run_as_programs() -> None:
    run = subprocess.run([sys.executable, "-m", "rsunivlm.cli", "--version"], capture_output=True, text=True)
    assert run.stdout.startswith("rsunivlm ")


def test_each_family_has_the_files_its_line_promises() -> None:
    for family in FAMILIES:
        for file in ("configuration", "modeling", "processing"):
            name = f"rsunivlm.models.{family.model_type}.{file}_{family.model_type}"
            assert importlib.util.find_spec(name) is not None
        assert family.load("configuration", "Config").model_type == family.model_type
