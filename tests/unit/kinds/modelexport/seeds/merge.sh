swift export \
  --ckpt_dir ./output/mh-sft/v0-20250820-144506/checkpoint-508 \
  --merge_lora true \
  --merge_dtype float16 \
  --output_dir ./export/qwen-sft-7b
