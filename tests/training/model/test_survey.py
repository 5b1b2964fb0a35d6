"""Which tensors a model has: their names, what is one tensor, and what cannot be averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DataParallel, DistributedDataParallel

from gossiptrain.errors import UsageError
from gossiptrain.training.model.survey import survey


def names_of(model: nn.Module) -> list[tuple[str, ...]]:
    return [found.names for found in survey(model)]


def small_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


class WithBuffer(nn.Module):
    """One parameter and one buffer."""

    def __init__(self, buffer: Tensor, *, persistent: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("buffer", buffer, persistent=persistent)


class WithParameter(nn.Module):
    """One parameter."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)


# Names.


def test_parameters_come_first_and_then_the_persistent_floating_point_buffers() -> None:
    assert names_of(small_model()) == [
        ("0.weight",),
        ("0.bias",),
        ("1.weight",),
        ("1.bias",),
        ("1.running_mean",),
        ("1.running_var",),
    ]


def compiled(model: nn.Module) -> nn.Module:
    wrapped = torch.compile(model, backend="eager")
    assert isinstance(wrapped, nn.Module)
    return wrapped


def with_compiled_layer(model: nn.Module) -> nn.Module:
    first, *others = model.children()
    return nn.Sequential(compiled(first), *others)


@pytest.mark.parametrize("wrap", [compiled, with_compiled_layer, DataParallel])
def test_a_wrapped_model_has_the_names_of_the_plain_one(wrap: Callable[[nn.Module], nn.Module]) -> None:
    assert names_of(wrap(small_model())) == names_of(small_model())


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    store = f"file://{tmp_path}/store"
    distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_a_model_in_distributed_data_parallel_of_one_process_has_the_names_of_the_plain_one() -> None:
    assert names_of(DistributedDataParallel(small_model())) == names_of(small_model())
    assert names_of(compiled(DistributedDataParallel(small_model()))) == names_of(small_model())


@pytest.mark.usefixtures("process_group")
def test_a_model_that_several_processes_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DistributedDataParallel(small_model())
    monkeypatch.setattr(type(model.process_group), "size", lambda group: 4)
    with pytest.raises(UsageError, match="shared by 4 processes") as caught:
        survey(model)
    assert "one peer for each GPU" in caught.value.remedy


# What is one tensor.


def test_a_module_that_is_used_twice_counts_once() -> None:
    layer = nn.Linear(2, 2)
    assert names_of(nn.Sequential(layer, nn.ReLU(), layer)) == [("0.weight",), ("0.bias",)]


def test_tied_parameters_are_one_tensor_with_two_names() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].register_parameter("weight", model[0].get_parameter("weight"))
    assert names_of(model) == [("0.weight", "1.weight")]


def test_parameters_that_share_memory_without_being_one_object_are_one_tensor() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model.get_parameter("1.weight").data = model.get_parameter("0.weight").data
    assert names_of(model) == [("0.weight", "1.weight")]


def test_a_tensor_is_trained_if_it_is_under_any_of_its_names() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model.get_parameter("1.weight").data = model.get_parameter("0.weight").data
    model.get_parameter("0.weight").requires_grad_(False)
    assert [found.requires_grad for found in survey(model)] == [True]


def test_parts_of_one_memory_are_tensors_of_their_own() -> None:
    memory = torch.zeros(8)
    model = nn.ParameterList([nn.Parameter(memory[:4]), nn.Parameter(memory[4:])])
    assert names_of(model) == [("0",), ("1",)]


def test_tensors_without_elements_are_not_tied_for_that() -> None:
    assert names_of(nn.ParameterList([torch.zeros(0), torch.zeros(0)])) == [("0",), ("1",)]


# What is each peer's own.


@pytest.mark.parametrize(
    "buffer", [torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool), torch.zeros(2, dtype=torch.cfloat)]
)
def test_buffers_that_are_not_floating_point_are_each_peers_own(buffer: Tensor) -> None:
    assert names_of(WithBuffer(buffer)) == [("weight",)]


@pytest.mark.parametrize("buffer", [torch.zeros(2), torch.zeros(2).to_sparse()])
def test_buffers_that_are_not_persistent_are_each_peers_own(buffer: Tensor) -> None:
    assert names_of(WithBuffer(buffer, persistent=False)) == [("weight",)]


# What cannot be averaged.


@torch.inference_mode()
def inference_tensor() -> Tensor:
    return torch.zeros(2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.LazyLinear(2), "weight has no shape yet"),
        (nn.Linear(2, 2, device="meta"), "weight has no values yet"),
        (WithBuffer(torch.zeros(2).to_sparse()), "buffer is a sparse tensor"),
        (WithParameter(torch.zeros(2, dtype=torch.cfloat)), "weight has the type complex64"),
        (WithBuffer(inference_tensor()), "buffer was made in inference mode"),
        (WithBuffer(torch.zeros(1).expand(3)), "elements of buffer lie in one place"),
    ],
    ids=["lazy", "meta", "sparse", "complex", "inference", "expanded"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_tensors_that_cannot_be_averaged_are_refused_by_name(model: nn.Module, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        survey(model)
    assert caught.value.remedy


@pytest.mark.usefixtures("process_group")
def test_tensors_that_are_spread_over_several_processes_are_refused() -> None:
    spread = distribute_tensor(torch.zeros(2), init_device_mesh("cpu", (1,)), [Shard(0)])
    with pytest.raises(UsageError, match="weight is a DTensor, which is not plain memory"):
        survey(WithParameter(nn.Parameter(spread)))


@pytest.mark.usefixtures("process_group")
@pytest.mark.filterwarnings("ignore::UserWarning:torch.*", "ignore::FutureWarning:torch.*")
def test_a_sharded_model_is_refused() -> None:
    sharded = FullyShardedDataParallel(small_model(), device_id=torch.device("cpu"))
    with pytest.raises(UsageError, match="sharded by FullyShardedDataParallel"):
        survey(sharded)
