"""Resolve, lock, render, build and prove PyTorch development images from one matrix.yaml."""
