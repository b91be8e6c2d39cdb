"""Deliberate faults, each of which some test has to notice: the table of `python -m tests.mutations`.

A fault is a change of one place in the code. Code that moves takes its faults along: a text that is gone, or is there
twice, fails `tests/test_faults.py`.
"""

from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Fault(NamedTuple):
    """A deliberate mistake.

    Attributes:
        file: that it is planted in, from the root of the project.
        before: the text that it replaces, which occurs once in the file.
        after: the text in its place.
        why: what goes wrong, if the texts do not say so.
        tests: the test files that concern it, if imports lead to others.
    """

    file: str
    before: str
    after: str
    why: str = ""
    tests: tuple[str, ...] = ()

    def __str__(self) -> str:
        before, after = (" ".join(text.split()) for text in (self.before, self.after))
        return f"{self.file}: {before} -> {after or 'nothing'}{f' ({self.why})' if self.why else ''}"


def problem(fault: Fault) -> str | None:
    """Return what keeps a fault from being planted, None if nothing does."""
    path = ROOT / fault.file
    if missing := [name for name in (fault.file, *fault.tests) if not (ROOT / name).is_file()]:
        return f"{fault}: there is no {missing[0]}"
    found = path.read_text(encoding="utf-8").count(fault.before)
    if found != 1:
        return f"{fault}: the text before occurs {found} times"
    return f"{fault}: the text after is the text before" if fault.before == fault.after else None


# By file: the text before, the text after, what goes wrong, the test files.
TABLE: dict[str, list[tuple[Any, ...]]] = {
    # The NumPy lesson.
    "zoo/scratch/neuron.py": [
        ("return sigmoid(z) - y", "return y - sigmoid(z)"),
        ("np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))", "1 / (1 + np.exp(-z))"),
        ("np.log1p(np.exp(-np.abs(z)))", "np.log1p(np.exp(-z))"),
    ],
    "zoo/scratch/layers.py": [
        ("gradient.sum(axis=0)  # (H,)", "gradient.mean(axis=0)  # (H,)"),
        ("return gradient.reshape(self.shape)", "return gradient"),
    ],
    "zoo/scratch/activations.py": [
        ("return (a > 0).astype(a.dtype)", "return (a >= 0).astype(a.dtype)"),
        ("return 1 - a * a", "return 1 - a"),
        ("return a * (1 - a)", "return a"),
    ],
    "zoo/scratch/network.py": [
        ("for layer in reversed(self.layers):", "for layer in reversed(self.layers[1:]):"),
        ("        array[place] = value\n        slopes", "        slopes", "a change that stays"),
        ("            layer.training = training", "            pass"),
    ],
    "zoo/scratch/softmax.py": [
        ("shifted = z - z.max(axis=1, keepdims=True)", "shifted = z", "logits overflow"),
        ("np.exp(z - z.max(axis=1, keepdims=True))", "np.exp(z)", "logits overflow"),
        ("- a_k * a_j  #", "+ a_k * a_j  #"),
        ("if not 0 <= label < num_classes:", "if not label < num_classes:"),
    ],
    "zoo/scratch/losses.py": [
        ("(np.exp(log_a) - y) / len(logits)", "(np.exp(log_a) - y)", "a sum, not a mean"),
        ("where=y > 0, ", "", "0 times infinity"),
        ("gradient * a * (1 - a)", "gradient", "the notebooks' gradient"),
        ("if not (sums_to_1 and", "if not ("),
    ],
    "zoo/scratch/initializers.py": [
        ("np.sqrt(6 / (num_inputs", "np.sqrt(3 / (num_inputs"),
        ("np.sqrt(2 / num_inputs)", "np.sqrt(2 / num_outputs)"),
    ],
    "zoo/scratch/optimizers.py": [
        ("(g + self.beta * v if self.nesterov else v)", "v"),
        ("np.sqrt(s / (1 - self.beta2**t))", "np.sqrt(s) / (1 - self.beta2**t)"),
        ("return g + self.weight_decay * p if", "return g + self.weight_decay if"),
    ],
    "zoo/scratch/regularizers.py": [
        ("return self.strength * weights", "return 2 * self.strength * weights"),
    ],
    "zoo/scratch/training.py": [
        ("total += len(labels) * train_step(", "total += train_step("),
        ("    network.set_training(False)\n", "", "dropout in evaluation"),
    ],
    "zoo/scratch/batches.py": [
        ("else self.rng.permutation(total)", "else self.rng.integers(total, size=total)"),
    ],
    "zoo/scratch/convolution.py": [
        ("padded[:, u : u + h, v : v + w] += cut", "padded[:, u : u + h, v : v + w] = cut"),
        ('self.gradients["bias"] = slopes.sum(axis=0)', 'self.gradients["bias"] = slopes.mean(axis=0)'),
    ],
    "zoo/scratch/pooling.py": [
        ("(place == self.maxima) & ~taken", "place == self.maxima", "all of equal places"),
    ],
    "zoo/scratch/batch_norm.py": [
        ("var * count / (count - 1)", "var"),
        ("- self.u * (du * self.u).mean(axes)", ""),
        ("        if not self.training:\n            return du / self.std\n", ""),
    ],
    "zoo/scratch/dropout.py": [
        ("stays.astype(x.dtype) / (1 - self.rate)", "stays.astype(x.dtype)"),
    ],
    "zoo/scratch/autograd.py": [
        ("source.slope += value.slope * slope", "source.slope = value.slope * slope"),
        ("            value.slope = 0.0\n", "            pass\n"),
    ],
    "zoo/scratch/fast.py": [
        ("len(array) < shape[0]", "False", "memory for a larger batch"),
        ("        padded[:] = 0\n", "", "slopes of an earlier batch"),
        ("for number in range(thread, len(blocks), threads)", "for number in range(0, len(blocks), threads)"),
        ("self._patches(self.x[block], memory)", "self._patches(self.x[block], self._memories[0])"),
        (
            "            if layer.gradients is not windows:",
            "            if False:",
            "a layer with a dictionary of its own",
        ),
        ("        self._share()\n\n    @property", "\n    @property", "a copy shares nothing"),
        ("            change += g\n", "", "Nesterov without the gradient", ("tests/scratch/test_optimizers.py",)),
    ],
    # NumPy networks under Lightning.
    "zoo/core/numpy_classifier.py": [
        ("        others *= 1 - shares\n", ""),
        ("network.flat_gradients /= self.trainer.world_size", "pass", "", ("tests/training/test_ddp.py",)),
        ("loop._batches_that_stepped += n", "pass"),
        ("left.append(trainer.max_steps - steps)", "pass"),
        ("        scheduler.step()\n", ""),
        ("values * (1 - share) + share / self.num_classes", "values"),
        ("smoothed[:, -self.num_outputs :]", "smoothed[:, : self.num_outputs]"),
        ("self.clip_gradients(self.trainer.optimizers[0], *self._clip)", "pass"),
        ("array[:] = value", "pass", "a step from the neighbor"),
        ("cast(Tensor, parameter.grad).zero_()", "pass", "frozen weights that climb"),
        ("            parameter.grad = own_gradient\n", "            pass\n", "the epochs after frozen ones"),
    ],
    "zoo/core/numpy_optimizers.py": [
        ("setattr(run.rule, name, group[name])", "pass", "options of a resumed run"),
        ("if before is None or not _follows(before, parameter):", "if before is None:", "biases in a group of weights"),
    ],
    "zoo/core/torch_twin.py": [
        ('torch.tensor(layer.parameters["weight"].T)', 'torch.tensor(layer.parameters["weight"].T) * 1.001'),
        ("module[0].in_torchs_order = True", "pass"),
        ("inputs = inputs.permute(0, 2, 3, 1)", "pass"),
        ("            ctx.layer.forward(_to_numpy(inputs))  #", "            pass  #", "slopes of other inputs"),
    ],
    "zoo/models/numpy_mlp.py": [
        ("self.keep_normalization(mean=[0.0] * channels, std=[1.0] * channels)", "pass"),
    ],
    # All models.
    "zoo/core/classifier.py": [
        ("self.label_smoothing if self.training else 0.0", "self.label_smoothing"),
        ("targets * (1 - smoothing) + smoothing / 2", "targets * (1 - smoothing) + smoothing"),
        (
            '(stage == "test" or self.trainer.state.fn == "validate")',
            "True",
            "validations of a training that take six times as long",
        ),
        ("confusion.sum()) * self.trainer.world_size", "confusion.sum())", "images of all processes"),
        ("-(-batches // accumulated)", "batches // accumulated", "the last step of an epoch"),
        ("(loss.float() * len(labels))", "(loss * len(labels))", "a sum in half precision"),
        ("if schedulers else [(0, ", "if False else [(0, ", "a schedule of accumulation"),
        ("(step + 0.5) / self.training_steps()", "step / self.training_steps()"),
        ('fraction >= group["stops_at"]', 'fraction > group["stops_at"] + 1'),
        ("self.log_dict(dict(metrics))\n", "pass\n", "metrics for other loggers"),
        (
            "loss_sum.isfinite()",
            "loss_sum.isnan().logical_not()",
            "an infinite loss",
            ("tests/training/test_finite.py",),
        ),
    ],
    "zoo/core/regularization.py": [
        ("module.parameters(recurse=False)", "()", "layer norm over height and width"),
        ("if name in names)", "if name in ())", "positions of a transformer"),
        ("torch._foreach_sign(learning)", "learning"),
        ('"params": spared, "weight_decay": 0.0', '"params": spared'),
    ],
    "zoo/training/callbacks/averages.py": [
        ("(1 + updates) / (10 + updates)", "1"),
        ("return 1 / updates", "return 1 / (updates + 1)"),
        ("weights | self._trained", "weights", "a checkpoint saved between validation and next batch"),
        ("pl_module.load_state_dict(checkpoint[TRAINED])", "pass", "a run that goes on from its average"),
        ("if not self._has_begun:", "if False:", "a longer resumed run"),
        ("            _copy(self._trained, self._weights)\n", "", "training goes on from the average"),
        ("torch.promote_types(weight.dtype, torch.float32)", "weight.dtype"),
    ],
    "zoo/training/callbacks/sharpness_aware.py": [
        ("kept = [*weights, *pl_module.buffers()]", "kept = [*weights]", "statistics of the second pass"),
        (
            "counted, pl_module.counts, self._is_second_pass = pl_module.counts, False, True",
            "counted, self._is_second_pass = True, True",
            "metrics count each batch twice",
        ),
        ("distance / (norm + EPSILON)", "distance"),
    ],
    "zoo/core/torch_classifier.py": [
        ("self.logits(batch.partners.mix(", "(lambda inputs: self(batch.images))(batch.partners.mix("),
        ("own.forward is not TorchClassifier.forward", "False", "a forward that mixing would pass by"),
        (
            "return normalized.clone(memory_format=torch.contiguous_format)",
            "return normalized",
            "LeNet with x.view(n, -1)",
        ),
        ("logits = logits.float()", "pass", "a loss in half precision"),
        ("            self.counts = False\n", "", "an optimizer that computes a batch's loss several times"),
    ],
    "zoo/core/metrics.py": [
        ("_mean(recall[true > 0])", "_mean(recall)"),
        ("return result if result.dtype == state.dtype else state.to(result.device)", "return result"),
        ("cells = labels * self.num_classes + predictions", "cells = predictions * self.num_classes + labels"),
        ('summary["acc"] += self.soft_hits', 'summary["acc"] += 0 * self.soft_hits', "the accuracy on mixed images"),
    ],
    "zoo/models/cnn.py": [
        ("nn.Dropout(dropout)", "nn.Dropout(0.0)"),
    ],
    "zoo/models/resnet.py": [
        ("(0, 0, 0, 0, 0, self.new_channels)", "(0, 0, 0, 0, self.new_channels, 0)", "zeros before the channels"),
        ("self.norm2(self.conv2(residual)) + self.shortcut(x)", "self.norm2(self.conv2(residual))"),
        ("nn.Sequential(projection, nn.BatchNorm2d(outputs))", "projection"),
    ],
    "zoo/models/preact_resnet.py": [
        ("activated if self.activates_shortcut else x", "x", "shortcuts of the raw input"),
        ("activates_shortcut=index == 0", "activates_shortcut=False", "the first block of the paper"),
    ],
    "zoo/models/wide_resnet.py": [
        ("PreActBlock(outputs, outputs, dropout=dropout)", "PreActBlock(outputs, outputs)"),
    ],
    "zoo/models/densenet.py": [
        ("torch.cat([x, self.new(x)], dim=1)", "torch.cat([self.new(x), x], dim=1)"),
    ],
    "zoo/models/vgg.py": [
        ("nn.MaxPool2d(2, ceil_mode=True)", "nn.MaxPool2d(2)", "images of 28 x 28"),
    ],
    "zoo/core/networks.py": [
        ("range(1, image_size // smallest + 1)", "range(1, image_size + 1)"),
        ("highest * place / max(1, count - 1)", "highest"),
        ("2**halvings + 1", "2**halvings"),
        ("nn.init.zeros_(layer.bias)", "pass"),
    ],
    "zoo/models/mobilenet_v2.py": [
        ("nearest if nearest >= 0.9 * channels else nearest + 8", "nearest"),
        ("self.is_residual = stride == 1 and inputs == outputs", "self.is_residual = False"),
    ],
    "zoo/models/efficientnet.py": [
        ("layer.out_channels // layer.groups", "layer.out_channels", "depthwise convolutions that start near 0"),
        ("SqueezeExcitation(hidden, max(1, inputs // 4)", "SqueezeExcitation(hidden, max(1, hidden // 4)"),
    ],
    "zoo/models/convnext.py": [
        ("self.scale * self.layers(x)", "self.layers(x)"),
        ("torch.full((width, 1, 1), 1e-6)", "torch.ones((width, 1, 1))"),
    ],
    "zoo/models/vit.py": [
        ("return x[:, 0]", "return x[:, -1]"),
        ("dim=1) + self.positions", "dim=1)"),
        ("nn.init.zeros_(head.weight)", "pass"),
    ],
    "zoo/models/mlp_mixer.py": [
        ("self.across_patches(self.norm1(x))", "self.across_patches(x)"),
    ],
    "zoo/catalogue/anatomy.py": [
        (
            "sdpa_kernel(SDPBackend.MATH)",
            "sdpa_kernel(SDPBackend.FLASH_ATTENTION)",
            "FLOPs without attention",
            ("tests/models/test_vit.py",),
        ),
    ],
    "zoo/core/inputs.py": [
        ("and images.shape[1:] == shape", "and images.ndim == 4"),
        ("(differentiable and images.requires_grad)", "images.is_floating_point()"),
    ],
    # Fine-tuning.
    "zoo/core/fine_tuning.py": [
        ('"lr_scale": decay**d}', '"lr_scale": decay}'),
        ("if found and all(parameter.ndim < 2", "if all(not parameter.ndim"),
    ],
    "zoo/training/callbacks/freezing.py": [
        ("            parameter.grad = None\n", "            pass\n", "weight decay", ("tests/training/test_ddp.py",)),
        ("                module.training = False\n", "                pass\n", "running statistics that move"),
        (
            "        self.on_train_epoch_start(trainer, pl_module)\n",
            "        pass\n",
            "a run that resumes in the middle of a frozen epoch",
        ),
    ],
    "zoo/runs/initial_weights.py": [
        ("elif target in renewed:", "elif False:"),
        (
            "elif (kind := checkpoints.kind(given[name])) != (own_kind := checkpoints.kind(own[target])):",
            "elif False:",
            "weights that were rounded to integers",
        ),
        ("tuple(before) == tuple(now)", "len(before) == len(now)"),
    ],
    # Test-time augmentation.
    "zoo/core/views.py": [
        ("SHIFTS = ((0, 0.5), (-1, 0.25), (1, 0.25))", "SHIFTS = ((0, 0.5), (-1, 0.25), (2, 0.25))"),
        ("(seen + network(view.flip(3)).float()) / 2", "(seen + network(view.flip(2)).float()) / 2"),
        ('border, "reflect")', "border)", "a black border"),
    ],
    "zoo/trained/trained_model.py": [
        ('tta or origin.config.get("tta", views.NO_VIEWS)', "tta or views.NO_VIEWS", "forgets how a run was tested"),
    ],
    "zoo/training/tensorboard/pr_curves.py": [
        ("logits if self._logits is None else self._logits", "logits", "curves of the last view"),
    ],
    "zoo/exporting/program.py": [
        ("mean_logits(self.network, images, self._tta)", "self.network(images)"),
    ],
    # Optimizers and schedules.
    "zoo/core/torch_optimizers.py": [
        ("update = gradient.add(velocity, alpha=momentum)", "update = velocity"),
        ("x = x.T  # the smaller", "pass  # the smaller", "filters with more rows than columns"),
        ("growth = 1 + 1 / (1 - momentum)", "growth = 1 / (1 - momentum)"),
    ],
    "zoo/core/schedules.py": [
        ("return self.start + (1 - self.start) * fraction / self.warmup", "return 1.0"),
        ("1 - (1 - self.final) * self.decayed", "1 - self.decayed"),
        ("growth ** (k - restarts)", "growth**-k", "cycles that shrink"),
    ],
    "zoo/training/callbacks/lookahead.py": [
        ("self.keep * (step / steps) ** 3", "self.keep"),
        ("        if step == steps:\n", "        if False:\n"),
    ],
    # The network of the speed records.
    "zoo/models/speedrun_net.py": [
        ("norm.weight.requires_grad_(False)", "norm.weight = None", "sync_batchnorm converts parameters"),
        ("(values + WHITENING_EPS).sqrt()", "(values + WHITENING_EPS)"),
    ],
    "zoo/commands/speedrun.py": [
        ("statistics.stdev(values)", "statistics.pstdev(values)"),
    ],
    # Data.
    "datamodules/mixing.py": [
        ("masked_fill(top < bottom, 1.0)", "masked_fill(top < bottom, 0.5)", "the pixels around a box"),
        ("(1 - weights) * (self.labels", "weights * (self.labels"),
        ("integers(bits, 1, images, width=32)", "integers(bits, 1, len(indices), width=32)", "partners of the batch"),
        ("np.sqrt(1 - beta_quantiles(cutmix))", "np.sqrt(beta_quantiles(cutmix))"),
        (".clamp(0, self.side)", ""),
        ("(pixels - (bottom - top) * (right - left))", "(pixels - 4 * self._halves.index_select(0, place) ** 2)"),
        ("random_bits(seed, epoch, indices, MIXING)", "random_bits(seed, 0, indices, MIXING)"),
    ],
    "datamodules/image_data_module.py": [
        (
            "stratified_order(labels, np.random.default_rng(SPLIT_SEED))[:size]",
            "stratified_order(labels, np.random.default_rng(SPLIT_SEED + self.seed))[:size]",
            "test subsets that follow the run's seed",
        ),
        (
            "np.random.default_rng(SPLIT_SEED))\n        has_own_val",
            "np.random.default_rng(self.seed))\n        has_own_val",
            "a hold-out that depends on the run",
        ),
        (
            "        self._measure(images)\n",
            "        self.normalization = (0.5,) * 3, (0.5,) * 3\n",
            "mean and std of no data",
        ),
        (
            "augmentation if augmentation.changes_images else None",
            "augmentation",
            "a copy of each batch",
        ),
    ],
    "datamodules/data_set.py": [
        ("        if verify_checksums:\n", "        if False:\n"),
        ("digests[name] in other.md5.values()", "False", "MNIST taken for Fashion-MNIST"),
        (
            "np.sort(order[count:]), np.sort(order[:count])",
            "np.sort(order), np.sort(order[:count])",
            "test images trained on",
        ),
    ],
    "datamodules/readers/idx.py": [
        ("if header[0] != expected[0]:", "if False:"),
        ("images[:, None].copy()", "images[:, None, ::-1].copy()", "images upside down"),
    ],
    "datamodules/readers/mat.py": [
        (
            "np.where(digits == 10, 0, digits)",
            "digits - 1",
            "the digit 1 as class 0",
            ("tests/datamodules/test_published.py",),
        ),
        (
            "pixels.transpose(3, 2, 0, 1)",
            "pixels.transpose(3, 2, 1, 0)",
            "rows and columns swapped",
            ("tests/datamodules/test_published.py",),
        ),
    ],
    "datamodules/readers/image_folder.py": [
        ("if problems:", "if False:", "unreadable images are trained on"),
        ("np.repeat(np.arange(len(class_names)), counts)", "np.repeat(np.arange(len(class_names))[::-1], counts)"),
    ],
    "datamodules/readers/npz.py": [
        ("_load(user_path(data_dir), key)[positions]", "_load(user_path(data_dir), key)[: len(positions)]"),
        ("if dtype.hasobject:", "if False:"),
        ("if count != n:", "if False:"),
        ("if key in headers:", "if False:", "the pixels of another array than the one that was checked"),
    ],
    "datamodules/loading.py": [
        ("self._samples(partners)", "self._samples(positions)", "each image mixed with itself"),
        ('"images": len(self.dataset)}', '"images": 0}'),
        ("shared[self.rank :: self.num_replicas]", "shared[: len(shared) // self.num_replicas]"),
        ("random_bits(self.seed, self.epoch, positions", "random_bits(self.seed, 0, positions"),
    ],
    "datamodules/difficulties.py": [
        ("uniform(bits, 0) < share", "uniform(bits, 0) > share"),
        ("labels + 1 + integers(", "labels + integers("),
        ("max(1, round(share * len(members)))", "round(share * len(members))"),
    ],
    "datamodules/random_numbers.py": [
        (
            "AUGMENTATION, ORDER, STEPS, MIXING, BOXES, POLICY, JITTER, ERASING, WRONG_LABELS = range(9)",
            "AUGMENTATION = ORDER = STEPS = MIXING = BOXES = POLICY = JITTER = ERASING = WRONG_LABELS = 0",
            "an order correlated with the augmentation",
        ),
        ("_key(stream, seed, epoch)", "_key(stream, seed + epoch)", "runs of several seeds that are not independent"),
    ],
    "datamodules/image_operations.py": [
        ("bordered.view(n, outer, outer * channels)[:] = fill.repeat(outer)", "bordered.zero_()", "a black border"),
        ("-magnitudes.trunc()[:, None], fill)", "-magnitudes.round()[:, None], fill)", "shifts by another pixel"),
        ("(places >= 0) & (places < side)", "places < side", "what comes from above is another image"),
        ("pixels.clamp(-side, side)", "pixels", "shifts of more than a side"),
        ("at_most - counts + step // 2", "at_most + step // 2", "an equalization that counts a value itself"),
        ("darkest.masked_fill(flat, 0), ", "darkest, ", "images of one color become black"),
    ],
    "datamodules/policies.py": [
        ("grouped.index_select(0, order.argsort())", "grouped", "images of other labels"),
        ('(("ShearY", 5, 8), ("TranslateY", 7, 9))', '(("ShearY", 5, 7), ("TranslateY", 7, 9))'),
        ("signed_levels if self.signed else levels", "signed_levels", "magnitudes of the wrong sign"),
        ("levels.gather(1, operations[:, None]).squeeze(1)", "levels[:, 0]", "one factor for all of a color jitter"),
    ],
    "datamodules/augmentation.py": [
        ("width * erased)", "width)"),
        ("draw = mix(draw)", "draw = bits", "a rectangle that is never drawn anew"),
        ("(in_first_epoch + epoch) % 2", "in_first_epoch % 2"),
        ("height - 1 : bottom - 1", "height : bottom", "a border that repeats the last row"),
    ],
    "datamodules/readers/cifar.py": [
        ("if batch_label != title:", "if False:"),
        (
            "return self._ALLOWED[module, name]",
            "return self._ALLOWED.get((module, name)) or super().find_class(module, name)",
        ),
        ("if self.left < 0:", "if False:", "an archive that unpacks to gigabytes"),
    ],
    "datamodules/download.py": [
        ("key=lambda address: speeds[address], reverse=True)", "key=lambda address: speeds[address])"),
        (
            "                    window_began, window_bytes = time.monotonic(), 0",
            "                    pass",
            "a server that starts fast",
        ),
        ("chunk[max(0, start - position) :]", "chunk", "a server without ranges"),
        ("right = _md5(part) == archive.md5", "right = True"),
    ],
    "datamodules/synthetic.py": [
        ("spawn_key=(splits.index(split),)", "spawn_key=(0,)", "test images that are training images"),
    ],
    "datamodules/paths.py": [
        ("return Path(os.path.expanduser(text))", "return Path(text)"),
    ],
    # What a stranger's file may do.
    "zoo/runs/checkpoints.py": [
        (
            "torch.load(path, weights_only=True, ",
            "torch.load(path, weights_only=False, ",
            "a malicious checkpoint",
            ("tests/training/test_bad_input.py",),
        ),
        ("entry.compress_type != zipfile.ZIP_STORED", "False"),
        (
            "        if count > most:",
            "        if False:",
            "a small file of a model that uses up the memory",
            ("tests/models/test_wrapped.py",),
        ),
    ],
    "zoo/runs/checkpoint_content.py": [
        ("    check_tensors(content)\n", "", "sparse weights", ("tests/training/test_restoring.py",)),
        (
            "> MOST_VALUES:",
            "> MOST_VALUES**3:",
            "hyper_parameters of 200,003 values",
            ("tests/training/test_restoring.py",),
        ),
        ("_check_epochs(_at(content,", "_at(_at(content,", "", ("tests/training/test_restoring.py",)),
    ],
    "zoo/runs/trust.py": [
        ("return classes(kind).get(path)", "return classes(kind).get(path) or configs.import_class(path)"),
        ("if configs.reads_as_yaml(value):\n            raise", "if False:\n            raise"),
        ('in ("class_path", "dict_kwargs")', 'in ("dict_kwargs",)'),
        ("if hints.get(name) is ImportPath and value:", "if False:", "", ("tests/models/test_wrapped.py",)),
        ("(is_place and not inside)", "False"),
    ],
    "zoo/training/restoring.py": [
        ('_check_finite(saved, "param_groups")', "pass"),
        ("callback, states))", "callback, {}))", "states of callbacks that are not tried"),
        ("_check_filled(before, optimizer", "_has_tensors, (before, optimizer"),
    ],
    "zoo/models/wrapped.py": [
        ("if option.startswith(LOADING):", "if False:", "files that options load"),
        ("antialias=shrinks", "antialias=False"),
        ('self.hparams["pretrained"] = False', "pass", "weights that a checkpoint loads again"),
        ("if inputs[0].shape[2:] == (1, 1) and", "if"),
    ],
    "zoo/models/torchvision_model.py": [
        (".expand(-1, 3, -1, -1)", ""),
        ("if name not in kept and not is_head:", "if False:"),
    ],
    "zoo/models/timm_model.py": [
        ("in_chans=channels", "in_chans=3"),
        ("**arguments, img_size=size)", "**arguments, img_size=self.image_size)"),
    ],
    "zoo/exporting/safetensors.py": [
        ("if net is None:", "if False:", "a network that the file names", ("tests/models/test_wrapped.py",)),
        ('if metadata["model"] not in registry.entries() and module not in sys.modules:', "if False:"),
        (
            "arguments |= dict.fromkeys",
            "dict.fromkeys",
            "a download that a file asks for",
            ("tests/models/test_wrapped.py",),
        ),
    ],
    "zoo/runs/run_directory.py": [
        ("    check_links(run)  # taking the lock", "    # taking the lock"),
        ("entry.is_dir(follow_symlinks=False)", "entry.is_dir()"),
        ("started, number = (name[1], int(name[2] or 1))", "started, number = (name[1], 1)"),
        ("taken.acquire(timeout=0)", "pass"),
    ],
    "zoo/runs/resume.py": [
        (
            '        data["task"] = "binary"\n',
            "        pass\n",
            "a model of one class and the rest",
            ("tests/commands/test_other_data.py",),
        ),
        ("run_directory.check_links(run)\n    path = run / run_directory.CONFIG", "path = run / run_directory.CONFIG"),
        ("if name in init_args and name not in FROM_DATA and not is_same:", "if False:"),
        ("if names is not None and tuple(names) != data.data_set.class_names:", "if False:", "other data"),
    ],
    "zoo/interpretation/neighbours.py": [
        ("> training.nbytes + LARGEST_KEY", "> 10**12"),
    ],
    # Runs.
    "zoo/training/trainer.py": [
        ('os.path.join(super().default_root_dir, ".no_run_yet")', "super().default_root_dir", "hpc_ckpt files"),
    ],
    "zoo/training/slurm.py": [
        ("SLURMEnvironment(auto_requeue=False)", "SLURMEnvironment(auto_requeue=True)"),
    ],
    "zoo/core/files.py": [
        ("os.replace(beside, path)", "path.write_bytes(content)"),
        ("            old.rename(folder)\n", "            pass\n", "", ("tests/commands/test_evaluate.py",)),
    ],
    "zoo/training/lightning_cli.py": [
        ("options[key] = type(value)(user_path(value))", "pass", "~ in a path", ("tests/training/test_paths.py",)),
        ("self.datamodule.seed = config.seed_everything", "pass", "images have the seed of the run"),
    ],
    "zoo/training/fit_command.py": [
        (
            "self.run_config.set_aside(self.run_dir / metrics_json.FILE)",
            "pass",
            "a finished run goes on; metrics_3_epochs.json",
            ("tests/runs/test_resume.py",),
        ),
        (
            "paths = [callback.best_model_path for callback in (self.best, self.last)",
            "paths = [callback.best_model_path for callback in (self.last, self.best)",
            "the best checkpoint is tested",
            ("tests/training/test_fit.py",),
        ),
    ],
    "zoo/runs/options.py": [
        (
            '"number of devices, or auto for all", 1,',
            '"number of devices, or auto for all", "auto",',
            "one device by default",
        ),
        (
            '_data("download", kept="never",',
            '_data("download",',
            "",
            ("tests/runs/test_trust.py", "tests/runs/test_resume.py"),
        ),
        (
            '_data("seed", learning=False)',
            '_data("seed", learning=False), _data("drop_last", learning=False)',
            "",
            ("tests/commands/test_compare.py",),
        ),
        (
            'Option("trainer.accumulate_grad_batches", least=1,',
            'Option("trainer.accumulate_grad_batches", learning=False, least=1,',
            "",
            ("tests/commands/test_compare.py",),
        ),
        (
            '"KIND", PRECISIONS, kept="fit",',
            '"KIND", PRECISIONS, kept="fit", learning=False,',
            "",
            ("tests/commands/test_compare.py",),
        ),
    ],
    "zoo/training/option_checks.py": [
        ("if available > 1 else None", "if available > 99 else None"),
    ],
    "zoo/training/stage_results.py": [
        (
            "    _draw(trainer, data, stage, _title(",
            "    metrics_json.write_json(directory / metrics_json.FILE, content)\n"
            "    _draw(trainer, data, stage, _title(",
            "metrics.json before all else is there",
        ),
    ],
    "zoo/training/processes.py": [
        ("        for process in others:\n            process.kill()\n            process.wait()\n", ""),
        ("                os._exit(error.exit_code)", "                pass"),
    ],
    "zoo/core/signals.py": [
        ("return 128 + self.number", "return 1"),
    ],
    # Callbacks.
    "zoo/training/callbacks/step_seed.py": [
        ("random_bits(self.seed, self._epoch, numbers", "random_bits(self.seed, 0, numbers"),
        ("batches * trainer.world_size + trainer.global_rank", "batches", "the same dropout in all processes"),
    ],
    "zoo/training/callbacks/unfinished_epoch.py": [
        (
            "self._restored = checkpoint.get(",
            "checkpoint.get(",
            "a run that was stopped within an epoch goes on as if nothing had happened",
        ),
    ],
    "zoo/training/callbacks/optimizer_state.py": [
        ('scheduler["base_lrs"][index] = new["lr"]', 'new["lr"]', "a resume with another rate"),
    ],
    "zoo/training/callbacks/finite.py": [
        (".isfinite().all()", ".isnan().logical_not().all()"),
        (
            "name not in parameters and not _is_finite(t)}",
            "name in parameters and not _is_finite(t)}",
            "-inf in the buffer of a mask",
        ),
    ],
    "zoo/training/callbacks/early_stopping.py": [
        ("self.wait_count += 1", "pass"),
        ('{**state_dict, "patience": self.patience}', "state_dict", "", ("tests/runs/test_resume.py",)),
    ],
    "zoo/training/callbacks/dead_units.py": [
        ("known |= fired", "known &= fired"),
    ],
    "zoo/training/callbacks/history.py": [
        ("seconds - self._validated", "seconds"),
        ("self.rows = rows", "pass", "a run that was stopped goes on as if nothing had happened"),
    ],
    "zoo/training/callbacks/batch_log.py": [
        ("for logger in trainer.loggers:", "for logger in trainer.loggers[:1]:"),
    ],
    "zoo/training/callbacks/graceful_stop.py": [
        (
            "self._saved = False, True",
            "self._saved = False, False",
            "a run stopped by a signal",
            ("tests/runs/test_resume.py",),
        ),
    ],
    "zoo/training/callbacks/run_checkpoint.py": [
        ('mode="max"', 'mode="min"', "the best checkpoint", ("tests/training/test_fit.py",)),
    ],
    "zoo/training/tensorboard/embeddings.py": [
        (".flip(1)[:, :n]", "[:, :n]"),
    ],
    # Before a run.
    "zoo/training/model_checks.py": [
        ("if mixes_images and not mixed:", "if False:"),
        (
            "model.train().register_forward_hook",
            "model.eval().register_forward_hook",
            "auxiliary heads in training mode",
        ),
        ("        _check_plain(model)\n", "", "get_extra_state"),
        ('(1, "one image")', '(2, "one image")'),
    ],
    "zoo/testing.py": [
        (
            "            _check_as_fit(model)\n",
            "",
            "check_model fails what fit refuses",
            ("tests/training/test_model_check.py",),
        ),
    ],
    "zoo/training/compilation.py": [
        (
            "if any(isinstance(module, torch.jit.ScriptModule) for module in model.net.modules()):",
            "if False:",
            "TorchScript is told where it does not serve",
            ("tests/training/test_model_check.py",),
        ),
        ("buffer.copy_(content)", "pass"),
    ],
    "zoo/catalogue/registry.py": [
        ("contains(installed, prereleases=True)", "contains(installed, prereleases=False)"),
        ("if entry.name in known:", "if False:"),
        ("if name in targets:", "if False:"),
    ],
    "zoo/catalogue/measured_results.py": [
        ("and result.source is None", "", "a result of others as the best one"),
    ],
    # Plots.
    "zoo/plots/mosaic.py": [
        ("return enlarge(image, side // longest)", "return enlarge(image, 1)"),
        ("(*image.shape[1:], 3)", "(*image.shape[1:], len(image))", "gray images have one channel"),
    ],
    "zoo/plots/literal.py": [
        (r'text.replace("$", r"\$")', "text", "the name of a class as a formula", ("tests/plots/test_pictures.py",)),
    ],
    # Evaluation.
    "zoo/evaluation/composition.py": [
        (
            "calibration_error.fit_temperature(subject.val) if",
            "calibration_error.fit_temperature(predictions) if",
            "a temperature of the test labels",
        ),
    ],
    "zoo/evaluation/calibration_error.py": [
        ('side="left"', 'side="right"'),
        ("np.nansum(gaps * self.counts)", "np.nansum(gaps)"),
        ("predictions.logits / temperature", "predictions.logits * temperature"),
    ],
    "zoo/evaluation/significance.py": [
        ("(abs(only_first - only_second) - 1) ** 2", "abs(only_first - only_second) ** 2"),
        ("[0.025, 0.975]", "[0.05, 0.95]"),
        ("min(1.0, 2 * ways / 2**tosses)", "min(1.0, ways / 2**tosses)"),
    ],
    "zoo/evaluation/sections/comparison.py": [
        ("if test.exact < LEVEL:", "if test.approximate < LEVEL:"),
    ],
    "zoo/core/confusions.py": [
        ("-pair.images / pair.total", "-pair.images"),
    ],
    "zoo/evaluation/latency.py": [
        ("batch, single = ", "single, batch = "),
    ],
    "zoo/evaluation/sections/robustness.py": [
        (
            "labels != CIFAR10.class_names.index(subject.class_names[0])",
            "labels != 0",
            "labels of another class",
            ("tests/commands/test_other_data.py",),
        ),
    ],
    "zoo/evaluation/corruptions.py": [
        ("return c * side / SIDE if self.in_pixels else c", "return c"),
        ("pixels[..., 0] if x.shape[1] == 1 else pixels", "pixels"),
        ("[seed, severity, zlib.crc32(name.encode())]", "[seed, severity]"),
        ("[seed, severity, zlib", "[seed, zlib"),
        (
            "rng.random(x.shape) < c, rng.integers(0, 2, x.shape)",
            "rng.random(x[:, :1].shape) < c, rng.integers(0, 2, x[:, :1].shape)",
            "impulses shared by the colors",
        ),
        ("rng.uniform(0, np.pi, len(x))", "rng.uniform(0, np.pi, 1)", "one angle for all images"),
        (
            "rng.standard_normal((n, height, width))",
            "rng.standard_normal((1, height, width))",
            "one fog for all images",
        ),
        ('subsampling="4:2:0"', 'subsampling="4:4:4"'),
    ],
    "zoo/evaluation/corrupted_images.py": [
        ("if classes == 2 else", "if classes == 0 else"),
    ],
    "zoo/evaluation/html.py": [
        ("autoescape=True", "autoescape=False", "", ("tests/commands/test_evaluate.py",)),
    ],
    "zoo/evaluation/report.html.jinja": [
        ("<small>{{ fact.note|line }}", "<small>{{ fact.note|line|safe }}", "", ("tests/commands/test_evaluate.py",)),
        (
            'class="note">{{ fact.note|line }}',
            'class="note">{{ fact.note|line|safe }}',
            "",
            ("tests/commands/test_evaluate.py",),
        ),
        (
            'alt="{{ block.description|line }}"',
            'alt="{{ block.description|line|safe }}"',
            "",
            ("tests/commands/test_evaluate.py",),
        ),
        ('href="{{ block.source }}"', 'href="{{ block.source|safe }}"', "", ("tests/commands/test_evaluate.py",)),
        ("pattern)|line }}", "pattern)|line|safe }}", "", ("tests/commands/test_evaluate.py",)),
    ],
    # What a network looks at.
    "zoo/interpretation/layer_outputs.py": [
        ("        and not isinstance(layer, torch.jit.ScriptModule)\n", "", "hooks on TorchScript"),
        ("            last = None\n", "            pass\n", "class-activation maps of a transformer"),
        (
            "if not layers and any(isinstance(part, torch.jit.ScriptModule)",
            "if layers and any(isinstance(part, torch.jit.ScriptModule)",
        ),
    ],
    "zoo/interpretation/class_activation.py": [
        ("gradients.mean((2, 3), keepdim=True)", "gradients"),
        ("logits.squeeze(1) * (2 * classes - 1)", "logits.squeeze(1)"),
    ],
    "zoo/interpretation/attribution.py": [
        ("additional_forward_args=(label,)).amax(1)", "additional_forward_args=(label,)).mean(1)"),
    ],
    # Commands.
    "zoo/runs/finished_runs.py": [
        ('"processes": _processes(facts)} | _settings(config)', '"processes": 1} | _settings(config)'),
    ],
    "zoo/runs/repetitions.py": [
        (
            "if row.runs[0].data == kind]",
            "if row.runs[0].data.source == kind.source]",
            "one class beside another",
            ("tests/commands/test_other_data.py",),
        ),
        (
            "newest = {run.seed: run for run in sorted(alike, key=",
            "newest = {run.seed: run for run in sorted(alike, reverse=True, key=",
        ),
    ],
    "cli.py": [
        ("os._exit(code)", "os._exit(0)"),
        ("    code = main()\n    sys.exit(code)", "    code = main()\n    leave()", "before its threads have ended"),
    ],
    "zoo/commands/predict.py": [
        ("data.test.labels.tolist(), probabilities", "data.test.labels.flip(0).tolist(), probabilities"),
    ],
    "datamodules/readers/image_files.py": [
        ("FILTER = Image.Resampling.BICUBIC", "FILTER = Image.Resampling.BILINEAR"),
        ("ImageOps.exif_transpose(image, in_place=True)", "pass"),
        ("if image.width * image.height > MOST_PIXELS:", "if False:"),
    ],
    "zoo/exporting/card.md.jinja": [
        (
            "Image.Resampling.BICUBIC)",
            "Image.Resampling.BILINEAR)",
            "not as predict resizes",
            ("tests/commands/test_export.py",),
        ),
    ],
    "zoo/exporting/check.py": [
        ("if not difference <= TOLERANCE:", "if difference > TOLERANCE:", "NaN"),
    ],
    "zoo/exporting/npz.py": [
        ("images.transpose(0, 2, 3, 1).reshape", "images.reshape"),
    ],
}
FAULTS = tuple(Fault(file, *entry) for file, entries in TABLE.items() for entry in entries)
