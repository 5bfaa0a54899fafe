swift export \
  --adapters "$CKPT" \
  --push_to_hub true \
  --hub_model_id "CodyWhy/mh-sft-qwen2.5-7b" \
  --hub_token "<你的SDK Token>" \
  --use_hf false
