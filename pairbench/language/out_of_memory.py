"""Out-of-memory helpers."""

_MESSAGES = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error means that a batch did not fit into the device's memory."""
    import torch

    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(part in text for part in _MESSAGES)


def empty_gpu_cache() -> None:
    """Empty the GPU's cache; call it once the error, which refers to tensors, is out of scope."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
