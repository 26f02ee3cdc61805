"""PyTorch checkpoints: reading their files, finding a network in them, importing, exporting."""
