CUDA_VISIBLE_DEVICES=0 swift infer \
  --adapters "$CKPT" \
  --merge_lora true \
  --infer_backend vllm \
  --max_new_tokens 512
