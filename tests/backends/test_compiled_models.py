"""What CPU can show of a training step on an accelerator: whole graphs for the compiler, and no look at a value."""

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from algoperf.backends.torch import TorchBackend  # noqa: E402
from algoperf.definition import LossType, Tier  # noqa: E402
from algoperf.registry import REGISTRY  # noqa: E402

pytestmark = pytest.mark.torch
BASES = sorted({d.base for d in map(REGISTRY.get, REGISTRY.names()) if d.tier is Tier.FULL and d.base != "cifar"})
# PyTorch's CTC loss asks the host for the lengths; one operator, which nothing but a loss of our own would replace.
LOOKS_AT_LENGTHS = LossType.CTC_LOSS


class DeviceMoves(TorchDispatchMode):
    """Notes operators that read on one device and write on another, scalars aside."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        read, written = (
            {t.device.type for t in tree_leaves(tree) if isinstance(t, torch.Tensor) and t.dim() > 0}
            for tree in ((args, kwargs), result)
        )
        if read and written and read != written:
            self.seen.append(str(function))
        return result


def small(name):
    """The workload at test size: (definition, model, batch)."""
    definition = REGISTRY.get(name).shrunk()
    model = REGISTRY.module(name, "torch_model").build(definition)
    batch = TorchBackend(torch.device("cpu")).put_batch(REGISTRY.module(name, "data").fake_batch(definition, 4, 0))
    return definition, model, batch


def on(device, tree):
    if isinstance(tree, dict):
        return {name: on(device, leaf) for name, leaf in tree.items()}
    return tuple(on(device, leaf) for leaf in tree) if isinstance(tree, tuple) else tree.to(device)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler looks at it
@pytest.mark.parametrize("name", BASES)
def test_the_compiler_sees_the_model_in_one_piece_and_the_loss_too(name):
    definition, model, batch = small(name)
    module, _ = model.init(None)
    options = {} if definition.default_dropout is None else {"dropout_rate": 0.1}
    arguments = model.arguments(batch)
    torch._dynamo.reset()
    seen = torch._dynamo.explain(module)(*arguments, **options)
    assert seen.graph_count == 1, [str(reason.reason) for reason in seen.break_reasons]
    if definition.loss_type is LOOKS_AT_LENGTHS:
        return
    torch._dynamo.reset()
    seen = torch._dynamo.explain(model.loss)(batch["targets"], module(*arguments, **options), batch.get("weights"), 0.0)
    assert seen.graph_count == 1, [str(reason.reason) for reason in seen.break_reasons]


@pytest.mark.parametrize("name", BASES)
def test_a_step_neither_waits_for_a_value_nor_moves_one_to_the_host(name):
    """On the meta device there are no values: whatever asks for one raises."""
    definition, model, batch = small(name)
    with torch.device("meta"):
        module, _ = model.init(None)
    batch = on("meta", batch)
    with DeviceMoves() as moves:
        logits, _ = model.forward(module, batch, None, train=True, rng=None, update_batch_norm=True, dropout_rate=0.1)
        if definition.loss_type is LOOKS_AT_LENGTHS:
            loss = logits[0].sum()
        else:
            losses = model.loss(batch["targets"], logits, batch.get("weights"), 0.0)
            loss = losses["summed"] / losses["n_valid_examples"]
        loss.backward()
    assert not moves.seen


def test_a_look_at_a_value_is_found():
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(3, device="meta").sum().item()
    with DeviceMoves() as moves:
        torch.ones(3).to("meta")
    assert moves.seen == ["aten._to_copy.default"]
