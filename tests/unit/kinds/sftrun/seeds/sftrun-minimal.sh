CUDA_VISIBLE_DEVICES=0 \
swift sft \
  --model Qwen/Qwen2.5-7B-Instruct \
  --train_type lora \
  --dataset CodyWhy/mh-sharegpt-20250820 \
  --num_train_epochs 1 \
  --per_device_train_batch_size 1 \
  --gradient_accumulation_steps 16 \
  --learning_rate 2e-4 \
  --max_length 2048 \
  --packing true \
  --save_steps 200 \
  --save_total_limit 3 \
  --logging_steps 20 \
  --bf16 true \
  --output_dir output/mh-sft
  
  # 若需推送到 SwanLab，需额外添加：
  --report_to swanlab \
  --swanlab_token ${SWANLAB_API_KEY} \
  --swanlab_project ${SWANLAB_PROJECT:-mh-sharegpt} \
  --swanlab_mode ${SWANLAB_MODE:-cloud} \
  --swanlab_exp_name mh-sft
