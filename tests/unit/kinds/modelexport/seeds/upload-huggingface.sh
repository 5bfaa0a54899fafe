huggingface-cli upload ./export/qwen-sft-7b yourname/qwen-sft-7b
