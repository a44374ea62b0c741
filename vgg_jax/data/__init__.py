"""Images and labels: where they come from, which of them can be decoded, and the crops of training.

This package decodes bytes to uint8 RGB on the host. A batch depends only on (source, seed, step).
Operations on pixels on the device are in `nets`; batches of whole images are in `evaluation`.
"""
