"""Small, real PyTorch programs with a threshold and a fixed seed, run inside images or on any machine."""
