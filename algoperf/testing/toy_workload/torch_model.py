"""The model in PyTorch."""

from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.initializers import lecun_normal_modules_
from workloads.common.torch.model import TorchModel


class LinearRegression(nn.Module):
    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(num_features, 1)
        lecun_normal_modules_(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps [batch, features] to [batch]."""
        outputs: Tensor = self.dense(inputs)[:, 0]
        return outputs

    def weight_map(self) -> list[weights.Entry]:
        return weights.linear("dense", "Dense_0")


def build(definition: WorkloadDefinition) -> TorchModel:
    return TorchModel(definition, lambda: LinearRegression(definition.model.num_features), output_layer="dense")
