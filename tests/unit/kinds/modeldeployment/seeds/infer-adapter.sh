CKPT=output/mh-sft/checkpoint-xxxx

CUDA_VISIBLE_DEVICES=0 swift infer \
  --adapters "$CKPT" \
  --stream true \
  --temperature 0.7 \
  --max_new_tokens 512
