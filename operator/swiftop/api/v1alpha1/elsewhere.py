"""Names that LLaMA-Factory, Axolotl, Megatron, transformers and ms-swift before 3.0 have for what a run's fields set.

Whoever comes with a file or a command of theirs is told the field, in place of one whose name looks alike.
"""

from __future__ import annotations

_QLORA = "tuner.quantization: {method: bnb, bits: 4}"
_FLASH = "training.attention: flash_attn"
_WANDB = "extraArgs: [{name: report_to, value: wandb}]"

_CLIPPING = 'extraArgs: [{name: max_grad_norm, value: "1.0"}]'
_PATIENCE = 'extraArgs: [{name: early_stop_interval, value: "3"}]'

_NAMES = {
    "model.id": "model_id model_id_or_path model_name_or_path name_or_path base_model model_path",
    "datasets": "train_dataset train_file train_files train_data data_path data_files dataset_dir"
    " custom_train_dataset_path",
    "datasets[].sample": "train_dataset_sample max_samples max_train_samples",
    "validation.datasets": "val_file val_data validation_file eval_file custom_val_dataset_path",
    "validation.splitRatio": "val_size val_set_size test_size dataset_test_ratio",
    "tuner.type": "sft_type finetuning_type peft_type adapter use_lora use_peft",
    "tuner.rank": "lora_r",
    "tuner.targetModules": "lora_target lora_target_modules lora_target_linear",
    "tuner.modulesToSave": "additional_target lora_modules_to_save",
    "tuner.dropout": "lora_dropout_p",
    _QLORA: "quantization_bit load_in_4bit load_in_8bit use_qlora",
    "training.epochs": "num_epochs n_epochs num_epoch",
    "training.maxSteps": "max_iters train_iters",
    "training.learningRate": "lr",
    "training.scheduler": "lr_scheduler",
    "training.maxLength": "cutoff_len sequence_len seq_length max_seq_len max_seq_length model_max_length block_size",
    "training.perDeviceBatchSize": "batch_size micro_batch_size train_batch_size per_gpu_train_batch_size",
    "training.globalBatchSize": "total_batch_size effective_batch_size",
    "training.acceleration": "use_unsloth unsloth use_unsloth_gc",
    "training.perDeviceEvalBatchSize": "eval_batch_size per_gpu_eval_batch_size",
    "training.gradientAccumulationSteps": "gradient_accumulation accumulate_grad_batches",
    "training.precision": "dtype mixed_precision",
    "training.packing": "neat_packing sample_packing",
    _FLASH: "flash_attn use_flash_attn flash_attention use_flash_attention_2",
    "training.attention": "attn_implementation",
    "training.liger": "enable_liger_kernel liger_kernel",
    "training.deepspeed": "deepspeed_config_path deepspeed_config ds_config",
    "training.gradientCheckpointing": "use_gradient_checkpointing",
    "training.template": "template_type chat_template prompt_template",
    "training.system": "system_prompt default_system",
    "training.datasetProcesses": "preprocessing_num_workers preprocess_num_proc num_proc",
    "training.evalStrategy": "evaluation_strategy",
    "checkpoints.saveSteps": "save_interval saves_per_epoch",
    "checkpoints.from": "resume_from",
    "resources.gpus": "nproc_per_node num_gpus n_gpus ngpus cuda_visible_devices",
    "resources.nodes": "nnodes num_nodes",
    "tracking.swanlab": "use_swanlab",
    _CLIPPING: "gradient_clipping grad_clip clip_grad",
    _PATIENCE: "early_stopping_patience early_stopping",
    _WANDB: "wandb use_wandb wandb_project",
}

FIELD_OF_NAME = {name: field for field, names in _NAMES.items() for name in names.split()}
"""Field of an SFTRun's spec, with a value where the name implies it."""
