"""Starting from, and evaluating, variables that another run or an import left."""

import json

import jax
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.config import defaults, to_dict
from augmax_jax.pytorch import importing as torch_import
from augmax_jax.training import pretrained
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.commands import evaluate_workdir
from augmax_jax.training.run import build

pytestmark = pytest.mark.usefixtures("speck")


def config(**changes):
    c = defaults()
    c.data.name = "digits"
    c.model.name = "speck"
    c.batch_size, c.num_devices = 16, 1
    c.progress = False
    c.compilation_cache = ""
    for name, value in changes.items():
        c[name] = value
    return c


def imported(directory, classes=10, **info):
    model = models.create("speck", classes)
    variables = jax.jit(model.init)(jax.random.key(5), np.zeros((1, 32, 32, 3), np.float32))
    settings = {
        "model": "speck", "num_classes": classes, "norm": "dubin", "options": {},
        "mean": None, "std": None,
    }  # fmt: skip
    torch_import.save_imported(directory, variables, settings | info)
    return jax.tree.map(np.asarray, dict(variables))


def test_a_run_starts_from_an_import(tmp_path):
    variables = imported(tmp_path / "import")
    state = build(config(init_from=str(tmp_path / "import"))).initial_state()
    jax.tree.map(np.testing.assert_array_equal, state.variables, variables)
    assert state.step == 0


def test_another_number_of_classes_gets_a_new_head(tmp_path):
    variables = imported(tmp_path / "import", classes=7)
    run = build(config(init_from=str(tmp_path / "import")))
    state = run.initial_state()
    assert state.params["head"]["kernel"].shape == (12, 10)
    for kept in ("convs_0", "norms_1"):
        jax.tree.map(np.testing.assert_array_equal, state.params[kept], variables["params"][kept])
    with pytest.raises(ValueError, match="another number of classes"):
        run.load(tmp_path / "import", build(config()).initial_state(), new_head=False)


def test_a_run_starts_from_another_run(tmp_path):
    run = build(config(seed=3))
    state = run.initial_state()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 0, jax.tree.map(np.asarray, state), {})
    checkpoints.close()
    with pytest.raises(ValueError, match=r"no config\.json that says of which network"):
        build(config(init_from=str(tmp_path))).initial_state()
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config(seed=3))))
    other = build(config(seed=4, init_from=str(tmp_path))).initial_state()
    jax.tree.map(np.testing.assert_array_equal, other.variables, state.variables)


def test_a_run_of_another_input_normalisation_is_refused(tmp_path):
    state = build(config()).initial_state()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 0, jax.tree.map(np.asarray, state), {})
    checkpoints.close()
    settings = to_dict(config())

    def load(mean, std):
        settings["model"] |= {"mean": mean, "std": std}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        return pretrained.load(tmp_path, state.variables, model=config().model, new_head=False)

    for mean, std in ((None, None), ([0.0] * 3, [1.0] * 3)):  # two ways to say none
        jax.tree.map(np.testing.assert_array_equal, load(mean, std), state.variables)
    with pytest.raises(ValueError, match=r"config\.model\.mean is .*was trained with .*0\.5"):
        load([0.5] * 3, [0.5] * 3)


def test_an_import_is_evaluated(tmp_path):
    imported(tmp_path / "import")
    results = evaluate_workdir(config(), tmp_path / "import")
    found = results["clean"]["last"]
    assert found["count"] == 359
    assert 0 <= found["accuracy"] <= 0.5
    elsewhere = evaluate_workdir(config(init_from=str(tmp_path / "import")), tmp_path / "elsewhere")
    assert elsewhere["clean"] == results["clean"]


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(ValueError, match="neither an imported model"):
        build(config(init_from=str(tmp_path))).initial_state()
    imported(tmp_path / "import", mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])
    with pytest.raises(ValueError, match=r"config\.model\.mean is .*was trained with"):
        build(config(init_from=str(tmp_path / "import"))).initial_state()
    imported(tmp_path / "strided", options={"stem_stride": 2})
    with pytest.raises(ValueError, match=r"config\.model\.options is \{\}, but .*stem_stride"):
        build(config(init_from=str(tmp_path / "strided"))).initial_state()
    c = config(init_from=str(tmp_path / "import"))
    c.model.mean, c.model.std, c.model.norm = (0.5,) * 3, (0.25,) * 3, "bn"
    with pytest.raises(ValueError, match="another network"):
        build(c).initial_state()
    with pytest.raises(FileNotFoundError, match="no checkpoints to evaluate"):
        evaluate_workdir(config(), tmp_path / "nothing")
    assert not pretrained.is_imported(tmp_path)
