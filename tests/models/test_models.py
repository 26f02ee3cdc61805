"""The networks: sizes, routes, precision, initial values, errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax import config as configs
from augmax_jax import models
from augmax_jax.models.resnet import ResNet
from augmax_jax.training.run import create_model

NORMS = ("bn", "ibn", "dubn", "dubin")
KEY = jax.random.key(0)

# (name, classes, options, input size) -> parameters with bn or ibn, dubn, dubin. Counted by
# instantiating the paper's PyTorch networks; `tiny`, which is ours, by the formula below.
GOLDEN = {
    ("resnet18", 10, (), 32): (11_173_962, 11_183_562, 11_182_666),
    ("resnet18", 100, (), 32): (11_220_132, 11_229_732, 11_228_836),
    ("resnet18", 200, (("stem_stride", 2),), 64): (11_271_432, 11_281_032, 11_280_136),
    ("wrn40_2", 10, (), 32): (2_243_546, 2_248_954, 2_248_426),
    ("wrn40_2", 100, (), 32): (2_255_156, 2_260_564, 2_260_036),
    ("resnext29", 10, (), 32): (6_807_882, 6_833_098, 6_831_946),
    ("resnext29", 100, (), 32): (6_900_132, 6_925_348, 6_924_196),
    ("resnet18_imagenet", 1000, (), 224): (11_689_512, 11_699_112, 11_698_216),
    ("resnet50_imagenet", 1000, (), 224): (25_557_032, 25_610_152, 25_607_912),
    ("tiny", 10, (), 32): (78_042, 78_714, 78_666),
}
# Parameter tensors and, over both routes, scalars of running statistics of the DuBIN networks.
GOLDEN_DUBIN = {
    "resnet18": (114, 17_408, (4, 4, 512)),
    "wrn40_2": (214, 9_760, (8, 8, 128)),
    "resnext29": (169, 48_128, (8, 8, 1024)),
    "resnet18_imagenet": (114, 17_408, (7, 7, 512)),
    "resnet50_imagenet": (293, 101_760, (7, 7, 2048)),
    "tiny": (51, 1_248, (8, 8, 64)),
}


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def shapes(module, resolution=32):
    images = jax.ShapeDtypeStruct((2, resolution, resolution, 3), jnp.float32)
    return images, jax.eval_shape(module.init, KEY, images)


def test_every_model_has_golden_counts():
    assert {name for name, *_ in GOLDEN} == set(models.MODELS) == set(GOLDEN_DUBIN)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case[0]}-{case[1]}")
def test_parameter_counts(case, norm):
    name, classes, options, resolution = case
    module = models.create(name, classes, norm=norm, **dict(options))
    images, variables = shapes(module, resolution)
    single, dubn, dubin = GOLDEN[case]
    expected = {"bn": single, "ibn": single, "dubn": dubn, "dubin": dubin}[norm]
    assert size(variables["params"]) == expected
    assert set(variables) == {"params", *models.statistics_collections(norm)}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    if norm == "dubin":
        tensors, statistics, feature_map = GOLDEN_DUBIN[name]
        if options == ():
            assert len(jax.tree.leaves(variables["params"])) == tensors
        assert size(variables) - size(variables["params"]) == statistics

        def trunk(variables, images):
            return module.apply(variables, images, "clean", False, method="trunk")

        assert jax.eval_shape(trunk, variables, images).shape == (2, *feature_map)


def test_tiny_count_by_formula():
    kernels = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    shortcuts = 16 * 32 + 32 * 64
    affine = 2 * (16 + 2 * 16 + 3 * 32 + 3 * 64)
    assert kernels + shortcuts + affine + 64 * 10 + 10 == 78_042


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", list(models.MODELS))
def test_forward_shapes(name, norm):
    """Every norm of every network, in bfloat16: float32 logits, one collection updated."""
    module = models.create(name, 7, norm=norm, dtype="bfloat16", mean=(0.5,) * 3, std=(0.2,) * 3)
    images, variables = shapes(module)
    route = "clean" if norm == "dubn" else "augmented"
    collection = models.statistics_collection(norm, route)
    logits, updated = jax.eval_shape(
        lambda variables, images: module.apply(
            variables, images, route=route, train=True, mutable=[collection]
        ),
        variables,
        images,
    )
    assert logits.shape == (2, 7)
    assert logits.dtype == jnp.float32
    assert updated == {collection: variables[collection]}  # shapes and dtypes


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((4, 32, 32, 3), np.float32)


def apply(module, *args, **kwargs):
    """`module.apply`, jitted."""
    return jax.jit(lambda *args: module.apply(*args, **kwargs))(*args)


def random_variables(module):
    """Plausible values for all variables; initialising takes seconds to compile."""
    rng = np.random.default_rng(2)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            value = rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape)
        else:
            positive = name.endswith(("scale", "var"))
            value = rng.uniform(0.8, 1.2, leaf.shape) - (0 if positive else 1)
        return value.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(module)[1])


@pytest.fixture(scope="module")
def tiny():
    """A tiny DuBIN network whose routes differ."""
    module = models.create("tiny", 10, stem_stride=2)
    return module, random_variables(module)


def test_routes(tiny, images):
    module, variables = tiny
    logits = {route: apply(module, variables, images, route=route) for route in models.ROUTES}
    assert np.abs(logits["clean"] - logits["augmented"]).max() > 1e-3
    np.testing.assert_array_equal(apply(module, variables, images), logits["clean"])

    # A whole training forward touches one collection and needs only that one.
    mine = {k: v for k, v in variables.items() if k != "batch_stats_clean"}
    trained, updated = apply(
        module, mine, images, route="augmented", train=True, mutable=["batch_stats_augmented"]
    )
    assert list(updated) == ["batch_stats_augmented"]
    changed = jax.tree.map(
        lambda a, b: bool(np.all(a != b)),
        updated["batch_stats_augmented"],
        variables["batch_stats_augmented"],
    )
    assert all(jax.tree.leaves(changed))
    assert np.abs(trained - logits["augmented"]).max() > 1e-3

    # Both routes mutable: the other still is bit-identical.
    _, updated = apply(
        module,
        variables,
        images,
        route="augmented",
        train=True,
        mutable=["batch_stats_clean", "batch_stats_augmented"],
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        updated["batch_stats_clean"],
        variables["batch_stats_clean"],
    )


def test_features_and_head(tiny, images):
    module, variables = tiny
    features = apply(module, variables, images, route="augmented", train=False, method="features")
    assert features.shape == (4, 64)
    assert features.dtype == jnp.float32
    head = variables["params"]["head"]
    np.testing.assert_allclose(
        features @ head["kernel"] + head["bias"][None],
        apply(module, variables, images, route="augmented"),
        atol=1e-5,
    )


def test_evaluation_treats_examples_alone(tiny, images):
    module, variables = tiny
    alone = np.concatenate([apply(module, variables, images[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(alone, apply(module, variables, images), atol=1e-5)


def test_input_normalisation_is_inside(tiny, images):
    _, variables = tiny
    mean, std = models.IMAGENET_MEAN, models.IMAGENET_STD
    normalising = models.create("tiny", 10, stem_stride=2, mean=mean, std=list(std))
    plain = models.create("tiny", 10, stem_stride=2)
    np.testing.assert_allclose(
        apply(normalising, variables, images),
        apply(plain, variables, (images - np.float32(mean)) / np.float32(std)),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", list(models.MODELS))
def test_a_network_has_its_own_input_normalisation(name):
    """`create`, an import and a config make the same network."""
    own = (models.IMAGENET_MEAN, models.IMAGENET_STD) if "imagenet" in name else (None, None)
    module = models.create(name, 10)
    assert (module.mean, module.std) == own
    assert models.create(name, 10, mean=own[0], std=own[1]) == module

    none = ((0.0,) * 3, (1.0,) * 3)
    without = models.create(name, 10, mean=none[0], std=none[1])
    assert (without.mean, without.std) == (None, None)
    assert models.input_normalization(name) == (none if own == (None, None) else own)
    assert models.input_normalization(name, [0, 0, 0], [1, 1, 1]) == none

    config = configs.defaults()
    config.model.name = name
    made = create_model(config, 10)
    assert (made.mean, made.std) == own
    config.model.mean, config.model.std = none
    assert create_model(config, 10).mean is None


def test_none_of_an_imagenet_network_is_no_normalisation(images):
    module, plain = (
        models.create("resnet18_imagenet", 3, norm="bn", mean=mean, std=std)
        for mean, std in ((None, None), ((0, 0, 0), (1, 1, 1)))
    )
    variables = random_variables(module)
    mean, std = np.float32(models.IMAGENET_MEAN), np.float32(models.IMAGENET_STD)
    expected = apply(plain, variables, (images - mean) / std)
    np.testing.assert_allclose(
        apply(module, variables, images), expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    ("name", "norm", "dtype"),
    [
        *(("tiny", norm, "float32") for norm in NORMS),
        *((name, "dubin", dtype) for name in models.MODELS for dtype in ("float32", "bfloat16")),
    ],
)
def test_dtypes_do_not_follow_the_default(name, norm, dtype):
    """Parameters, statistics, logits and gradients are float32 in 64-bit mode too."""
    with jax.enable_x64(True):
        module = models.create(name, 10, norm=norm, dtype=dtype)
        images = jax.ShapeDtypeStruct((9, 32, 32, 3), jnp.float32)  # more than a chunk
        variables = jax.eval_shape(module.init, KEY, images)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        collection = models.statistics_collection(norm, "augmented")

        def step(variables, images):
            return jax.grad(
                lambda params: _loss(module, {**variables, "params": params}, images, collection),
                has_aux=True,
            )(variables["params"])

        result = jax.eval_shape(step, variables, images)
        wide = jax.ShapeDtypeStruct(images.shape, jnp.float64)
        logits = jax.eval_shape(module.apply, variables, wide)
    assert {leaf.dtype for leaf in jax.tree.leaves((result, logits))} == {jnp.dtype("float32")}


def _loss(module, variables, images, collection):
    logits, updated = module.apply(
        variables, images, route="augmented", train=True, mutable=[collection]
    )
    return jnp.mean(logits**2), (logits, updated)


def test_bfloat16_is_close_to_float32(tiny, images):
    module, variables = tiny
    low = models.create("tiny", 10, stem_stride=2, dtype=jnp.bfloat16)
    logits = np.asarray(apply(module, variables, images))
    low_logits = apply(low, variables, images)
    assert low_logits.dtype == jnp.float32
    np.testing.assert_allclose(low_logits, logits, atol=0.05 * np.abs(logits).max())
    assert np.abs(low_logits - logits).max() > 0


def test_remat_changes_nothing(images):
    plain, again = (
        ResNet(10, stage_sizes=(1, 1), widths=(4, 8), stem_stride=2, remat=remat)
        for remat in (False, True)
    )
    variables = random_variables(plain)
    structure = jax.tree.structure(jax.eval_shape(again.init, KEY, images))
    assert structure == jax.tree.structure(variables)

    def loss(params, module):
        logits, updated = module.apply(
            {**variables, "params": params},
            images,
            route="augmented",
            train=True,
            mutable=["batch_stats_augmented"],
        )
        return jnp.mean(logits**2), updated

    gradients = [jax.grad(lambda p, m=m: loss(p, m), has_aux=True) for m in (plain, again)]
    assert "remat" not in str(jax.make_jaxpr(gradients[0])(variables["params"]))
    assert "remat" in str(jax.make_jaxpr(gradients[1])(variables["params"]))
    results = [jax.jit(gradient)(variables["params"]) for gradient in gradients]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *results)


def test_synchronised_network_equals_one_device(tiny, images):
    """Logits and statistics of 2 devices with axis_name equal those of the whole batch."""
    _, variables = tiny

    def forward(x, axis_name=None):
        module = models.create("tiny", 10, stem_stride=2, axis_name=axis_name)
        return module.apply(
            variables, x, route="augmented", train=True, mutable=["batch_stats_augmented"]
        )

    logits, updated = jax.jit(forward)(images)
    devices = jax.local_devices()[:2]
    split = jax.pmap(lambda x: forward(x, "device"), axis_name="device", devices=devices)
    logits2, updated2 = jax.device_get(split(images.reshape(2, 2, 32, 32, 3)))
    np.testing.assert_allclose(logits2.reshape(4, 10), logits, atol=1e-4)
    for device in range(2):
        jax.tree.map(
            lambda a, b, d=device: np.testing.assert_allclose(a[d], b, rtol=1e-4, atol=1e-6),
            updated2,
            updated,
        )


def flat_params(name, **options):
    module = models.create(name, 10, **options)
    variables = jax.jit(module.init)(KEY, jnp.zeros((1, 32, 32, 3)))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
    }


def test_initial_values_uniform():
    """ResNet-18 for CIFAR: U(+-1/sqrt(fan in)) everywhere, biases of the head too."""
    params = flat_params("resnet18", norm="bn")
    kernels = [(k, v) for k, v in params.items() if k.endswith("kernel")]
    assert len(kernels) == 21
    for name, kernel in kernels:
        bound = np.prod(kernel.shape[:-1]) ** -0.5
        assert 0.98 * bound < np.abs(kernel).max() < 1.000001 * bound, name
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.06, err_msg=name)
    bias = params["head/bias"]
    assert 0 < np.abs(bias).max() < 1.000001 * 512**-0.5


@pytest.mark.parametrize("name", ["wrn40_2", "resnext29", "tiny"])
def test_initial_values_normal(name):
    """Convolutions: N(0, 2/(k^2 out)), not divided by groups, not truncated."""
    depth = {"wrn40_2": {"depth": 10}, "resnext29": {"depth": 11}, "tiny": {}}[name]
    params = flat_params(name, norm="bn", **depth)
    beyond = 0
    for path, kernel in params.items():
        if path.endswith("kernel") and not path.startswith("head"):
            std = (2 / (kernel.shape[0] ** 2 * kernel.shape[-1])) ** 0.5
            np.testing.assert_allclose(kernel.std(), std, rtol=0.1, err_msg=path)
            beyond += np.sum(np.abs(kernel) > 2.5 * std)
    assert beyond > 100  # truncation at two standard deviations would leave none
    head, bias = params["head/kernel"], params["head/bias"]
    inputs = head.shape[0]
    if name == "resnext29":
        np.testing.assert_allclose(head.std(), (2 / inputs) ** 0.5, rtol=0.05)
    else:
        assert 0.95 * inputs**-0.5 < np.abs(head).max() < 1.000001 * inputs**-0.5
    assert np.all(bias == 0) == (name != "tiny")


def test_options_change_the_network():
    def count(name, **options):
        return size(shapes(models.create(name, 10, norm="bn", **options))[1]["params"])

    assert count("wrn40_2", widen_factor=1) < count("wrn40_2") < count("wrn40_2", widen_factor=4)
    assert count("wrn40_2", depth=16, widen_factor=4) == 2_748_890  # the usual WRN-16-4
    assert count("resnext29", cardinality=8, base_width=64) == 34_426_698  # the usual 8x64d
    assert count("wrn40_2", stem_stride=2) == count("wrn40_2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "wrn40"}, "unknown model 'wrn40'.*'wrn40_2'.*Available: resnet18, "),
        ({"norm": "dubim"}, "unknown norm 'dubim'.*'dubin'.*Available: bn, ibn, dubn, dubin"),
        ({"num_classes": 0}, "num_classes must be .*, got 0"),
        ({"num_classes": 10.0}, "num_classes must be .*, got 10.0"),
        ({"widen_facto": 2}, "unknown option of model 'wrn40_2' 'widen_facto'.*'widen_factor'"),
        ({"cardinality": 2}, "unknown option of model 'wrn40_2' 'cardinality'.*Available: stem_s"),
        ({"name": "resnet50_imagenet", "stem_stride": 1}, "takes no options, got stem_stride=1"),
        ({"stem_stride": 3}, "stem_stride must be 1 or 2, got 3"),
        ({"stem_stride": True}, "stem_stride must be .*, got True"),
        ({"depth": 41}, r"depth must be 6 n \+ 4 .*got 41"),
        ({"name": "resnext29", "depth": 30}, r"depth must be 9 n \+ 2 .*got 30"),
        ({"dtype": "int8"}, "dtype must be float32 or bfloat16, got 'int8'"),
        ({"dtype": "bf16"}, "dtype must be float32 or bfloat16, got 'bf16'"),
        ({"mean": (0.5,) * 3}, "mean and std go together"),
        ({"mean": (0.5,), "std": (0.5,) * 3}, "mean must be three numbers"),
        ({"mean": 0.5, "std": 0.5}, "mean must be three numbers"),
        ({"mean": (None,) * 3, "std": (0.5,) * 3}, "mean must be three numbers"),
        ({"mean": (0.5,) * 3, "std": (float("nan"),) * 3}, "std must be three numbers"),
        ({"mean": (0.5,) * 3, "std": (0.5, 0, 0.5)}, "std must be positive"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_create_errors(arguments, message):
    arguments = {"name": "wrn40_2", "num_classes": 10, **arguments}
    with pytest.raises(ValueError, match=message):
        models.create(arguments.pop("name"), arguments.pop("num_classes"), **arguments)


@pytest.mark.parametrize(
    ("x", "route", "message"),
    [
        (np.zeros((1, 32, 32, 3), np.uint8), "clean", "must be float .* divide uint8"),
        (np.zeros((32, 32, 3), np.float32), "clean", r"\[B, H, W, 3\], got float32 \[32, 32, 3\]"),
        (np.zeros((1, 3, 32, 32), np.float32), "clean", r"got float32 \[1, 3, 32, 32\]"),
        (np.zeros((1, 32, 32, 3), np.float32), "aug", "unknown route 'aug'.*clean, augmented"),
        (np.zeros((1, 32, 32, 3), np.float32), None, "unknown route None"),
    ],
)
@pytest.mark.parametrize("norm", ["bn", "dubin"])
def test_apply_errors(x, route, message, norm):
    module = models.create("tiny", 10, norm=norm)
    with pytest.raises(ValueError, match=message):
        module.apply({"params": {}}, x, route=route)
