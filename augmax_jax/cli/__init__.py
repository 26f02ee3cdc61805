"""The command `augmax-jax`: it hands over to the other commands, and lists what there is."""
