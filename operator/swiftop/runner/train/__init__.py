"""The program ``train``: one run of `swift sft`."""
