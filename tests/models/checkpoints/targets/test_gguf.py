"""GGUF files read back, and llama.cpp itself (package `cyllama`, where it is installed) beside our model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from rsunivlm.models.checkpoints.export import export_checkpoint
from rsunivlm.models.rsunivlm.image_processing_rsunivlm import RSUniVLMImageProcessor
from rsunivlm.models.rsunivlm.processing_rsunivlm import RSUniVLMProcessor

gguf = pytest.importorskip("gguf")
EXPERT = 2
PROMPT = "[SEG] the red ship, 24 buildings"


@pytest.fixture(scope="module")
def qwen2_processor() -> RSUniVLMProcessor:
    """A processor whose small tokenizer splits text as Qwen2's does."""
    tokenizer = Tokenizer.from_str(Qwen2Tokenizer().backend_tokenizer.to_str())
    tokenizer.model = models.BPE()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["is there a ship near the airplane?"] * 50, trainer)
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=names[0],
        eos_token=names[2],
        extra_special_tokens=[names[1], names[3]],
    )
    return RSUniVLMProcessor(RSUniVLMImageProcessor(image_size=32), fast, num_image_tokens=4)


@pytest.fixture
def exported(make_siglip_checkpoint, qwen2_processor, tmp_path: Path, request) -> tuple:
    """Our model (in float32) and the folder with its pixel expert as GGUF."""
    dtype = getattr(request, "param", torch.float32)
    model, folder = make_siglip_checkpoint(
        lambda model: model.to(dtype), image_token_id=qwen2_processor.image_token_id
    )
    qwen2_processor.save_pretrained(folder)
    (target,) = export_checkpoint(folder, tmp_path / "out", granularity="pixel", format="gguf")
    return model.float(), target


@pytest.mark.parametrize("exported", [torch.float32, torch.bfloat16], indirect=True)
def test_files_hold_the_expert_bit_for_bit(exported, qwen2_processor) -> None:
    model, folder = exported
    text, vision = (gguf.GGUFReader(folder / name) for name in ("model.gguf", "mmproj.gguf"))
    read = {
        tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        for reader in (text, vision)
        for tensor in reader.tensors
    }
    state = model.state_dict()
    layer, block = "model.language_model.layers.1.", "model.vision_tower.backbone.blocks.1."
    half = model.config.text_config.intermediate_size
    expected = {
        "token_embd.weight": state["model.language_model.embed_tokens.weight"],
        "blk.1.attn_k.bias": state[f"{layer}self_attn.k_proj.bias"],
        "blk.1.ffn_up.weight": state[f"{layer}mlp.gate_up_proj"][EXPERT, half:],
        "blk.1.ffn_down.weight": state[f"{layer}mlp.down_proj"][EXPERT],
        "v.position_embd.weight": state["model.vision_tower.backbone.pos_embed"][0],
        "v.blk.1.attn_k.weight": state[f"{block}attn.qkv.weight"][32:64],
        "v.patch_embd.weight": state["model.vision_tower.backbone.patch_embed.proj.weight"],
        "mm.2.bias": state["model.multi_modal_projector.linear_2.bias"],
    }
    for name, tensor in expected.items():
        assert torch.equal(read[name].reshape(tensor.shape), tensor), name
    assert len(read) == 2 + 2 * 12 + 3 + 2 * 16 + 4
    assert text.get_field("qwen2.block_count").contents() == 2
    assert vision.get_field("clip.vision.feature_layer").contents() == [2]
    assert text.get_field("tokenizer.chat_template").contents() == qwen2_processor.chat_template


def test_tokenizers_with_other_rules_are_refused(make_siglip_checkpoint, tmp_path: Path) -> None:
    _, folder = make_siglip_checkpoint()
    with pytest.raises(ValueError, match=r"splits text only by rules it knows.*llava-hf"):
        export_checkpoint(folder, tmp_path / "out", format="gguf")


def test_llama_cpp_gives_our_logits_and_tokens(exported, qwen2_processor, tmp_path: Path) -> None:
    llama = pytest.importorskip("cyllama.llama.llama_cpp", reason="llama.cpp: pip install cyllama")
    llama.disable_logging()

    class Model(llama.LlamaModel):
        n_vocab = property(lambda self: self.get_vocab().n_vocab)  # which its context asks it for

    model, folder = exported
    theirs = Model(str(folder / "model.gguf"), llama.LlamaModelParams())
    vision = llama.MtmdContext(
        str(folder / "mmproj.gguf"), theirs, llama.MtmdContextParams(use_gpu=False, n_threads=1)
    )
    marker, settings = llama.get_default_media_marker(), llama.LlamaContextParams()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 512
    settings.type_k = settings.type_v = settings.flash_attn_type = 0  # float32, no flash attention
    picture = Image.radial_gradient("L").resize((32, 32)).convert("RGB")
    picture.save(tmp_path / "picture.png")
    for count, tolerance in ((0, 1e-4), (1, 0.02), (2, 0.02)):
        ids, _ = qwen2_processor.encode_conversation([(PROMPT, None)], count)
        inputs = {"input_ids": torch.tensor([ids]), "expert_ids": torch.tensor([EXPERT])}
        if count:
            inputs["pixel_values"] = qwen2_processor.preprocess_images([picture] * count)
        with torch.no_grad():
            expected = model(**inputs).logits[0, -1]
        answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()

        chat = qwen2_processor.tokenizer.decode(ids).replace("<image>" * 4, marker)
        bitmaps = [llama.MtmdBitmap.from_file(vision, str(tmp_path / "picture.png")) for _ in range(count)]
        chunks = vision.tokenize(chat, bitmaps, False, True)
        assert chunks.total_tokens == len(ids)
        context = llama.LlamaContext(theirs, settings)
        past = vision.eval_chunks(context, chunks, 0, 0, 512, True)
        logits = torch.tensor(context.get_logits())
        torch.testing.assert_close(logits, expected, atol=tolerance, rtol=0)
        tokens = [int(logits.argmax())]
        while len(tokens) < len(answer):
            batch = llama.LlamaBatch(n_tokens=1, embd=0, n_seq_max=1)
            batch.add(tokens[-1], past, [0], True)
            context.decode(batch)
            past += 1
            tokens.append(int(torch.tensor(context.get_logits()).argmax()))
        assert tokens == answer
