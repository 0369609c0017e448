"""The model in PyTorch."""

from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.initializers import lecun_normal_modules_
from workloads.common.torch.model import TorchModel


class Network(nn.Module):
    def __init__(self, num_features: int, num_hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, num_hidden)
        self.output = nn.Linear(num_hidden, 1)
        lecun_normal_modules_(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps [batch, features] to [batch]."""
        outputs: Tensor = self.output(self.hidden(inputs).tanh())[:, 0]
        return outputs

    def weight_map(self) -> list[weights.Entry]:
        return weights.linear("hidden", "Dense_0") + weights.linear("output", "Dense_1")


def build(definition: WorkloadDefinition) -> TorchModel:
    sizes = definition.model.num_features, definition.model.num_hidden
    return TorchModel(definition, lambda: Network(*sizes), output_layer="output")
