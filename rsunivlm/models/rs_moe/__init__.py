"""RS-MoE, the second family: configuration, model, processor, router, experts, aggregation.

Re-implementation of arXiv 2411.01595; what the paper leaves open is ours (see `configuration_rs_moe`).

    config = RSMoEConfig(experts=[], text_config={...}, qformer_config={...}, vision_config={...})   # stage I
    model = RSMoEForConditionalGeneration(config)
    processor = RSMoEProcessor.for_config(config, tokenizer, qformer_tokenizer)

    config = stage_two(model.config, experts=[...], router="template_soft", adapter_rank=16)        # stage II
    add_experts(model, config)
    processor = RSMoEProcessor.for_config(config, tokenizer, qformer_tokenizer)

A training sample of stage I is one row, of stage II one row per expert::

    row = processor.encode_row(instruction, caption, instruction=instruction)                       # stage I
    rows = [                                                                                        # stage II
        processor.encode_row(prompt, target, instruction=instruction, expert=expert)
        for expert, (prompt, target) in enumerate(zip(expert_prompts(config, instruction), targets))
    ]

`instruction` is what the user says, without a task token (`rsunivlm.tasks.without_token`). A row has
`input_ids` and `labels` like a `rsunivlm.data.loading.Sample`, `expert_id`, and two texts more, which
`processor.batch_texts(rows)` pads into the model's inputs. `batch_rows(rows)` is a whole batch for
`generate`.

The model takes, beside what all causal models take: `pixel_values` [N, 3, H, W] or `image_features`
[n, S, C] from `get_vision_features` (the tower is frozen, so they may be computed once), `image_index` [B]
where rows share images, `expert_ids` [B] (`NO_EXPERT` = -1 is the language model of stage I), and the texts
of `batch_texts`. With `labels` and `loss_positions` it returns `loss` and `token_losses` as the other family
does.

Names of parameters, by what the stages train:

| prefix | part | stage I | stage II |
|---|---|---|---|
| `vision_tower.` | timm tower | frozen | frozen |
| `bridge.ln_vision`, `bridge.query_tokens`, `bridge.llm_proj.` | bridge | trained | frozen |
| `bridge.qformer.` | Q-Former | LoRA | frozen |
| `language_model.` | causal language model | LoRA | frozen |
| `language_model.*.adapter_a_NAME`, `..adapter_b_NAME` | adapter of expert NAME | - | trained |
| `router.` | network of the soft tokens | - | trained |
"""
