"""One interface, in NumPy, to the model in either framework; and beam search written down plainly, as a reference."""

import numpy as np

START, END, NEVER = 0, 2, -1e7
# Compiling takes most of the time of these tests, and each program runs a few times only.
_COMPILE_FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class JaxTranslator:
    def __init__(self, definition):
        import jax

        from workloads.wmt import jax_model

        self._model = jax_model.build(definition)
        self._logits = jax.jit(self._forward, compiler_options=_COMPILE_FAST)
        self._translate = jax.jit(
            lambda params, inputs, beam_size: self._model.translate(params, inputs, beam_size),
            static_argnums=2,
            compiler_options=_COMPILE_FAST,
        )

    def load(self, weights):
        import jax

        params, _ = jax.eval_shape(self._model.init, jax.random.key(0))
        self._params = self._model.import_weights(weights, params, None)[0]

    def fresh_weights(self, seed):
        import jax

        return self._model.export_weights(self._model.init(jax.random.key(seed))[0], None)

    def _forward(self, params, batch):
        logits, _ = self._model.forward(
            params, batch, None, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        return logits

    def logits(self, batch):
        return np.asarray(self._logits(self._params, batch))

    def translate(self, inputs, beam_size):
        return np.asarray(self._translate(self._params, inputs, beam_size))


class TorchTranslator:
    def __init__(self, definition):
        from workloads.wmt import torch_model

        self._model = torch_model.build(definition)
        self._module, _ = self._model.init(None)

    def load(self, weights):
        self._model.import_weights(weights, self._module, None)

    def fresh_weights(self, seed):
        import torch

        torch.manual_seed(seed)
        return self._model.export_weights(self._model.init(None)[0], None)

    def logits(self, batch):
        import torch

        tensors = {name: torch.from_numpy(np.array(value)) for name, value in batch.items()}
        logits, _ = self._model.forward(
            self._module, tensors, None, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        return logits.numpy()

    def translate(self, inputs, beam_size):
        import torch

        return self._model.translate(self._module, torch.from_numpy(np.array(inputs)), beam_size).numpy()


def translator(framework, definition):
    return {"jax": JaxTranslator, "pytorch": TorchTranslator}[framework](definition)


def random_weights(definition, seed, sharpness=1.0, end_bias=0.05):
    """Weights in which every layer matters. A large `sharpness`, a factor on the logits, makes predictions certain."""
    rng = np.random.default_rng(seed)
    shapes = translator("pytorch" if _has("torch") else "jax", definition).fresh_weights(0)
    weights = {}
    for name, value in shapes.items():
        scale = 1.0 if "embedding" in name else 0.25
        weights[name] = (scale * rng.standard_normal(value.shape)).astype(np.float32)
        if name.endswith("scale"):
            weights[name] += 1
    table = weights["params/shared_embedding/embedding"]
    table[START] = 0  # so that padding is never the best token
    last = definition.model.num_layers - 1
    norms = ("params/decoder/encoderdecoder_layernorm", f"params/decoder/encoderdecoderblock_{last}/LayerNorm_2")
    norm = next(norm for norm in norms if f"{norm}/bias" in weights)
    weights[f"{norm}/bias"] += end_bias * table[END]  # so that sentences end
    for part in ("scale", "bias"):
        weights[f"{norm}/{part}"] *= sharpness
    return weights


def plain_beam_search(model, source, config, beam_size):
    """Translates one sentence [S] hypothesis by hypothesis, running the whole decoder on each prefix."""

    def penalty(length):
        return ((5 + length) / 6) ** config.length_penalty

    def next_log_probs(prefix):
        targets = np.ones((1, config.max_length), np.int32)
        targets[0, : len(prefix) - 1] = prefix[1:]
        logits = model.logits({"inputs": source[None], "targets": targets})[0, len(prefix) - 1].astype(np.float64)
        return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()

    live, finished = [(0.0, (START,))], []
    for length in range(1, config.max_length):
        worst = finished[beam_size - 1][0] if len(finished) >= beam_size else NEVER
        if worst > live[0][0] / penalty(config.max_length):
            break
        candidates = []
        for score, prefix in live:
            log_probs = next_log_probs(prefix)
            candidates += [(score + log_probs[t], (*prefix, t)) for t in np.argsort(-log_probs)[: 2 * beam_size]]
        candidates = sorted(candidates, key=lambda c: -c[0])[: 2 * beam_size]
        live = [c for c in candidates if c[1][-1] != END][:beam_size]
        finished += [(score / penalty(length), tokens) for score, tokens in candidates if tokens[-1] == END]
        finished = sorted(finished, key=lambda c: -c[0])[:beam_size]
    best = (finished or live)[0][1][1:]
    return [*map(int, best), *[0] * (config.max_length - 1 - len(best))]


def _has(package):
    import importlib.util

    return importlib.util.find_spec(package) is not None
