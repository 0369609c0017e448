"""ResNet-50 in PyTorch."""

from algoperf.definition import WorkloadDefinition
from workloads.common.torch.image_classifier import ImageClassifier
from workloads.common.torch.resnet import BottleneckResNetBlock, ResNet


def build(definition: WorkloadDefinition) -> ImageClassifier:
    model = definition.model

    def make_module() -> ResNet:
        return ResNet(
            block=BottleneckResNetBlock,
            blocks=model.blocks,
            width=model.width,
            num_classes=definition.data.num_classes,
            activation=model.activation,
            last_scale=model.last_scale,
        )

    return ImageClassifier(definition, make_module, output_layer="fc")
