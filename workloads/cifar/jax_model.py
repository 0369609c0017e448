"""ResNet-18 with a 3x3 stem in JAX."""

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.image_classifier import ImageClassifier
from workloads.common.jax.resnet import ResNet, ResNetBlock


def build(definition: WorkloadDefinition) -> ImageClassifier:
    module = ResNet(
        block=ResNetBlock,
        blocks=definition.model.blocks,
        width=definition.model.width,
        num_classes=definition.data.num_classes,
        large_stem=False,
    )
    return ImageClassifier(definition, module, output_layer="Dense_0")
