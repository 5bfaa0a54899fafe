"""swiftop: fine-tune, export and serve language models with ms-swift on Kubernetes."""
