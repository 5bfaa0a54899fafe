swift upload \
  --model_dir ./export/qwen-sft-7b \
  --hub modelscope \
  --model_id yourname/qwen-sft-7b
