"""How accurate a network is, on clean images and under distribution shift."""
