"""The model in PyTorch."""

from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.initializers import lecun_normal_modules_
from workloads.common.torch.model import TorchModel

from .definition import WaveConfig


class Network(nn.Module):
    def __init__(self, model: WaveConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(model.num_features, model.num_hidden)
        self.output = nn.Linear(model.num_hidden, 1)
        lecun_normal_modules_(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps [batch, features] to [batch]."""
        outputs: Tensor = self.output(self.hidden(inputs).tanh())[:, 0]
        return outputs

    def weight_map(self) -> list[weights.Entry]:
        return weights.linear("hidden", "Dense_0") + weights.linear("output", "Dense_1")


def build(definition: WorkloadDefinition) -> TorchModel:
    return TorchModel(definition, lambda: Network(definition.model), output_layer="output")
