"""PyTorch's device, and its settings that make it fast."""

import torch


def prepare(platform: str, *, tf32: bool) -> torch.device:
    """Returns the device, and turns cuDNN's autotuning on.

    Args:
      platform: JAX's name of it, "cpu" or "gpu".
      tf32: Whether products of float32 may be rounded to TF32, as JAX does by default.

    Raises:
      RuntimeError: PyTorch finds no GPU.
    """
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    if platform == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no GPU. Install a PyTorch with CUDA.")
    return torch.device("cuda")


def wait(device: torch.device) -> None:
    """Waits for the device to finish."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def forget_peak(device: torch.device) -> None:
    """Begins a new measurement of the peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: torch.device) -> int | None:
    """Returns the most memory of tensors at one time; None for a CPU."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else None
