"""ResNet-50 in JAX."""

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.image_classifier import ImageClassifier
from workloads.common.jax.resnet import BottleneckResNetBlock, ResNet


def build(definition: WorkloadDefinition) -> ImageClassifier:
    model = definition.model
    module = ResNet(
        block=BottleneckResNetBlock,
        blocks=model.blocks,
        width=model.width,
        num_classes=definition.data.num_classes,
        activation=model.activation,
        last_scale=model.last_scale,
    )
    return ImageClassifier(definition, module, output_layer="Dense_0")
