"""ResNet-18 with a 3x3 stem in PyTorch."""

from algoperf.definition import WorkloadDefinition
from workloads.common.torch.image_classifier import ImageClassifier
from workloads.common.torch.resnet import ResNet, ResNetBlock


def build(definition: WorkloadDefinition) -> ImageClassifier:
    def make_module() -> ResNet:
        return ResNet(
            block=ResNetBlock,
            blocks=definition.model.blocks,
            width=definition.model.width,
            num_classes=definition.data.num_classes,
            large_stem=False,
        )

    return ImageClassifier(definition, make_module, output_layer="fc")
