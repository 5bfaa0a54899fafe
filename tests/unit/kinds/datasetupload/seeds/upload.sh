modelscope upload your_name/sharegpt-demo \
  /abs/path/to/your_sharegpt.jsonl \
  data/train.jsonl \
  --repo-type dataset \
  --commit-message "init sharegpt jsonl"
