"""A device that is none: its tensors lie in the CPU's memory, but mix with the CPU's as a GPU's do.

So that code which forgets on which device something is fails where there is no GPU, too. It takes
torch's place for devices that others bring, and changes torch for the whole process, which should
therefore be one of its own. Of a GPU's numbers, speed or memory it says nothing.
"""

import copy
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
# A GPU's tensors may be indexed by the CPU's and copied from and to them.
_INDEX = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}

_setup_privateuseone_for_python_backend(NAME)
_tensor = torch.tensor
torch.inference_mode = torch.no_grad  # type: ignore[misc, assignment]  # of which it knows nothing


class There(torch.Tensor):
    """A tensor of that device.

    Attributes:
        here: where its values are.
    """

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "There":
        return torch.Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, here: torch.Tensor) -> None:
        self.here = here

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _done(func, args, kwargs or {})

    def tolist(self) -> Any:
        """As of any tensor; torch refuses it of subclasses."""
        return self.detach().cpu().tolist()


class Pretend(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, tensors can be made on the device or brought there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(func, args, kwargs or {})


def brought(model: Any) -> Any:
    """A copy of a model on the device."""
    model, known = copy.deepcopy(model), dict[int, torch.nn.Parameter]()
    for layer in model.modules():
        for name, weights in layer._parameters.items():
            if weights is not None:  # which layers may share
                there = torch.nn.Parameter(There(weights.data), weights.requires_grad)
                layer._parameters[name] = known.setdefault(id(weights), there)
        for name, values in layer._buffers.items():
            if values is not None:
                layer._buffers[name] = There(values)
    return model


def _tensor_there(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
    """``torch.tensor``, which no mode sees."""
    if device is None or torch.device(device).type != NAME:
        return _tensor(data, device=device, **kwargs)
    return _tensor(data, **kwargs).to(device)


torch.tensor = _tensor_there  # type: ignore[assignment]


def _done(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operation gives on the CPU, on the device that it belongs to."""
    name = func._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, There)]
    wanted = kwargs.get("device")
    to_there = bool(there) if wanted is None else torch.device(wanted).type == NAME
    if not there and not to_there:
        return func(*args, **kwargs)
    # A single number may be anywhere.
    others = [each for each in tensors if not isinstance(each, There) and each.dim() > 0]
    indexed = name in _INDEX and isinstance(tensors[0], There)
    if there and others and not (indexed or name == "aten::copy_"):
        raise RuntimeError(f"{name}: expected all tensors on one device, found {NAME} and cpu.")
    place = {} if wanted is None else {"device": torch.device("cpu")}
    found = func(*_here(args), **(_here(kwargs) | place))
    if func._schema.is_mutable:  # what is written into is what comes back
        named = [kwargs.get(argument.name) for argument in func._schema.arguments]
        written = [
            args[i] if i < len(args) else named[i]
            for i, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        returned = len(func._schema.returns)
        return None if not returned else written[0] if returned == 1 else tuple(written)
    if not to_there:
        return found
    return tree_map(lambda x: There(x) if isinstance(x, torch.Tensor) else x, found)


def _here(values: Any) -> Any:
    return tree_map(lambda x: x.here if isinstance(x, There) else x, values)
