"""Slow tests run the commands and snippets of every page at toy size; fast ones a few snippets."""

import pytest

from tests.documentation import blocks
from tests.documentation.workspace import Workspace

# Snippets that take a second or two beyond their imports.
QUICK = ("CONTRIBUTING", "own_method", "own_network")
# What the text of a page takes for granted, at toy size.
GIVEN = """
import jax, jax.numpy as jnp, numpy as np, optax
from augmax_jax import augment, models
key, seed = jax.random.key(0), 0
images_uint8 = images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
labels = np.arange(8) % 10
"""
NETWORK = """
model = net = models.create("tiny", 10)
variables = params = model.init(key, jnp.zeros((1, 16, 16, 3)))
"""
OF_PAGE = {
    "README": NETWORK,
    "augment": NETWORK
    + "optimizer = optax.sgd(0.1)\nopt_state = optimizer.init(params)\n"
    + "batches = [(images, labels)] * 2\n",
    "checkpoints_pytorch": "images = images[:2] / np.float32(255)\n",
    "corruptions": "first = 0\n",
    "data": "",
    "export": "images = images[:2]\n",
    "evaluate_any_network": NETWORK
    + """
def predictor(x):
    return model.apply(variables, x)
class classifier:
    def predict_proba(x):
        return np.full((len(x), 10), 0.1)
""",
    "methods": NETWORK
    + """
def logits_fn(x):
    return model.apply(variables, x)
chains = augment.sample_chains(key, images, depth=1)
m, p = np.full(8, 0.5, "f4"), np.zeros((8, 3), "f4")
images = augment.to_float(images)
draw = lambda keys: images
noise, norm = np.ones((8, 16, 16, 3), "f4"), 1.0
""",
    "performance": "def train_step(x):\n    return x\n",
    "reports": """
import json
workdir, run1, run2 = "runs/one", "runs/one", "runs/two"
results = json.load(open(workdir + "/results.json"))
clean = images
chains = np.stack([images] * 3, 1)
augmix = augmax = images / 255
m, w = np.full(8, 0.5), np.full((8, 3), 1 / 3)
images_by_severity = images[:5]
predictions, confidences = labels, np.full(8, 0.5)
""",
}
# Numbers of the pages -> those of a test.
SMALLER = {
    "steps=5000": "steps=2, limit=4",
    'side, rows = "edsr", 16, 8': 'side, rows = "edsr", 8, 2',
}


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("pages"))


def snippets(page) -> str:
    """A program of the Python blocks of a page, whose errors have the page's lines."""
    found = [b for b in blocks.of_page(page) if b.language == "python" and not b.reason]
    lines = []
    for block in found:
        code = block.code.replace('"/data/', '"data/')
        for before, after in SMALLER.items():
            code = code.replace(before, after)
        code = "\n" * (block.line - 1) + code
        lines.append(f"exec(compile({code!r}, {page.name!r}, 'exec'), space)")
    if not lines:
        return ""
    given = GIVEN + OF_PAGE.get(page.stem, "")
    return "\n".join([f"space = {{}}\nexec({given!r}, space)", *lines])


@pytest.mark.parametrize("name", QUICK)
def test_quick_snippets_run(name, workspace):
    (page,) = [page for page in blocks.PAGES if page.stem == name]
    program = snippets(page)
    assert program
    workspace.run_snippets(program, name)


@pytest.mark.slow
@pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: page.stem)
def test_commands_and_snippets_run(page, workspace, tmp_path):
    for block in blocks.of_page(page):
        if block.language == "bash" and not block.reason:
            programs = tmp_path / str(block.line)
            programs.mkdir()
            for command in blocks.commands(block, programs):
                workspace.run(command)
    if page.stem not in QUICK and (program := snippets(page)):
        workspace.run_snippets(program, page.name)
