"""PyTorch checkpoints: reading their files, importing them, exporting ours."""
