"""The pickles in which PyTorch describes tensors, read without PyTorch."""
