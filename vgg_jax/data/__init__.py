"""Images and labels: where they come from, what in them can be decoded, and the crops of training.

Bytes become uint8 RGB here, on the host, and a batch depends on (source, seed, step) alone. What
happens to pixels on the device is in `nets`; whole images in batches are in `evaluation`.
"""
