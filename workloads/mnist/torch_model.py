"""One hidden layer in PyTorch."""

from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.image_classifier import ImageClassifier
from workloads.common.torch.initializers import lecun_normal_modules_
from workloads.mnist.definition import MnistConfig


class Mlp(nn.Module):
    """Flatten, linear, sigmoid, linear: images [batch, height, width, 1] to logits [batch, classes]."""

    def __init__(self, dimensions: MnistConfig) -> None:
        super().__init__()
        self.net = nn.ModuleDict(
            {
                "layer1": nn.Linear(dimensions.num_inputs, dimensions.num_hidden),
                "layer2": nn.Linear(dimensions.num_hidden, dimensions.num_classes),
            }
        )
        lecun_normal_modules_(self)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net["layer2"](self.net["layer1"](images.flatten(1)).sigmoid())
        return logits

    def weight_map(self) -> list[weights.Entry]:
        return [*weights.linear("net.layer1", "Dense_0"), *weights.linear("net.layer2", "Dense_1")]


def build(definition: WorkloadDefinition) -> ImageClassifier:
    return ImageClassifier(definition, lambda: Mlp(definition.model), output_layer="net.layer2")
