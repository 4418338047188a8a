"""What to do where a device's memory is out."""

_TOLD = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that a batch did not fit into the memory."""
    import torch

    told = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(each in told for each in _TOLD)


def give_back() -> None:
    """Give back what no tensor needs, once an error that holds on to tensors is gone."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
