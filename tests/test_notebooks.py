"""The notebooks are kept without outputs, install what they need, and run from top to bottom."""

import ast
import html
import importlib
import importlib.metadata
import io
import json
import os
import re
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import augmax_jax

nbformat = pytest.importorskip("nbformat")
inputtransformer = pytest.importorskip("IPython.core.inputtransformer2")

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    """The code cells of a notebook, with the magics turned into Python."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.source = inputtransformer.TransformerManager().transform_cell(cell.source)
    return cells


def install_cell(path):
    (cell,) = [cell for cell in code_cells(path) if "install" in cell.metadata.get("tags", ())]
    return cell.source


def test_all_four_are_there():
    names = [path.stem for path in NOTEBOOKS]
    assert names == ["anatomy", "cifar10", "quickstart", "your_images"]


@every_notebook
def test_it_is_kept_without_outputs(path):
    cells = code_cells(path)
    assert len(cells) >= 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def imported(tree):
    """What the imports of a cell make: name -> module or what was taken from one."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = importlib.import_module(alias.name)
                if alias.asname or "." not in alias.name:
                    found[alias.asname or alias.name] = module
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


def ours(names):
    """Those of the names that are from the package."""
    origins = {name: getattr(found, "__name__", "") for name, found in names.items()}
    return {name for name, origin in origins.items() if origin.startswith("augmax_jax")}


@every_notebook
def test_what_it_uses_of_the_package_is_there(path):
    names, unknown = {}, []
    for cell in code_cells(path):
        tree = ast.parse(cell.source)
        names |= imported(tree)
        unknown += [
            f"{node.value.id}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ours(names)
            and not hasattr(names[node.value.id], node.attr)
        ]
    assert unknown == []
    assert len(ours(names)) >= 3


def test_the_install_cells_are_one():
    def but_the_extras(source):
        return [line for line in source.splitlines() if not line.startswith("EXTRAS = ")]

    first, *others = [but_the_extras(install_cell(path)) for path in NOTEBOOKS]
    assert all(other == first for other in others)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    repository = project["urls"].get("Repository", "")
    assert any(line.startswith(f'REPOSITORY = "{repository}"') for line in first)
    for path in NOTEBOOKS:
        (line,) = [x for x in install_cell(path).splitlines() if x.startswith("EXTRAS = ")]
        extras = ast.literal_eval(line.removeprefix("EXTRAS = ").partition("#")[0].strip())
        assert {"train"} <= set(extras) <= set(project["optional-dependencies"])


class Shell:
    """Stands for IPython: it keeps what is asked of pip."""

    def __init__(self, name="Shell"):
        self.name, self.asked = name, []

    def __str__(self):
        return self.name

    def run_line_magic(self, magic, arguments):
        assert magic == "pip"
        self.asked.append(arguments)


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Runs the install cell of the CIFAR-10 notebook in a folder, where some modules are missing.

    It returns pip's arguments. After pip ran, augmax_jax is there.
    """

    def install(folder, missing=(), colab=None, pip_works=True):
        shell = Shell("<google.colab._shell.Shell>" if colab is not None else "Shell")

        def find_spec(name):
            done = pip_works and shell.asked
            return None if name in missing and not (done and name == "augmax_jax") else name

        monkeypatch.setattr("importlib.util.find_spec", find_spec)
        sessions = json.dumps([{"path": colab}]).encode()
        monkeypatch.setattr("socket.gethostbyname", lambda name: "127.0.0.1")
        monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(sessions))
        monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
        monkeypatch.chdir(folder)
        source = install_cell(ROOT / "notebooks" / "cifar10.ipynb")
        exec(source, {"get_ipython": lambda: shell})
        return shell.asked

    return install


def test_nothing_is_installed_where_all_is_there(install, tmp_path):
    assert install(tmp_path) == []


def test_it_installs_from_the_checkout_that_it_lies_in(install, tmp_path):
    (asked,) = install(ROOT / "notebooks", missing=("augmax_jax", "tensorflow"))
    assert f'"augmax-jax[train,tfds,tensorboard] @ {ROOT.as_uri()}"' in asked
    kept = (tmp_path / "constraints.txt").read_text().split()
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}
    assert kept == [f"{name}=={version}" for name, version in versions.items()]
    assert f'--constraint "{tmp_path / "constraints.txt"}"' in asked


@pytest.mark.parametrize("branch", ["main", "a/branch"])
def test_it_installs_from_where_colab_opened_it(install, tmp_path, branch):
    # Colab names the page of the file, escaped.
    page = f"https%3A%2F%2Fgithub.com%2Fsomeone%2Faugmax-jax%2Fblob%2F{branch.replace('/', '%2F')}"
    asked, frost = install(
        tmp_path,
        missing=("augmax_jax", "imagecorruptions"),
        colab=f"fileId={page}%2Fnotebooks%2Fcifar10.ipynb",
    )
    assert f'"augmax-jax[train] @ git+https://github.com/someone/augmax-jax@{branch}"' in asked
    # The runtime's TensorFlow stays: tensorflow-cpu would overwrite it.
    assert asked.endswith(" tensorflow-datasets importlib_resources clu tensorboard")
    assert "--no-deps" in frost
    assert "imagecorruptions-imaug" in frost


@pytest.mark.parametrize("colab", [None, "fileId=1aBcD"])
def test_it_says_what_to_do_where_there_is_no_repository(install, tmp_path, colab):
    with pytest.raises(RuntimeError, match="clone the repository"):
        install(tmp_path, missing=("augmax_jax",), colab=colab)


def test_it_says_what_to_do_where_pip_fails(install):
    with pytest.raises(RuntimeError, match="messages above say why"):
        install(ROOT / "notebooks", missing=("augmax_jax",), pip_works=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a notebook at toy size in a folder of its own: what it shows, and the folder."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")

    def run(name):
        folder = tmp_path_factory.mktemp(name)
        environment = os.environ | {
            "AUGMAX_JAX_TOY": "1",
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder),
        }
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        place = {"metadata": {"path": folder}}
        client = nbclient.NotebookClient(
            notebook, timeout=1800, kernel_name="python3", resources=place
        )
        done = client.execute(env=environment)
        outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
        return outputs, folder

    return run


def text_of(outputs):
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")


def pictures_of(outputs):
    return [output for output in outputs if "image/png" in output.get("data", {})]


def check_report(outputs, folder, pattern):
    """The report is in the workdir, and the notebook shows it."""
    (file,) = folder.glob(f"{pattern}/report.html")
    assert file.stat().st_size > 50_000
    frames = [output.get("data", {}).get("text/html", "") for output in outputs]
    (shown,) = [frame for frame in frames if "srcdoc" in frame]
    page = html.unescape(shown.split('srcdoc="')[1].split('"')[0])
    now = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")  # when the page was made
    assert now.sub("", page) == now.sub("", file.read_text())


@pytest.mark.slow
def test_anatomy_runs(run):
    outputs, _ = run("anatomy")  # its own asserts compare the functions with the equations
    assert len(pictures_of(outputs)) == 4
    text = text_of(outputs)
    assert "steps taken: [" in text
    assert "2,248,426" in text


@pytest.mark.slow
def test_quickstart_runs(run):
    outputs, folder = run("quickstart")
    check_report(outputs, folder, "augmax_digits_*")
    assert len(pictures_of(outputs)) == 5
    text = text_of(outputs)
    assert 0 <= float(text.split("SA (clean): ")[1].split("%")[0]) <= 100
    assert text.count(" is seen as ") == 12


@pytest.mark.slow
def test_your_images_runs(run):
    outputs, folder = run("your_images")
    check_report(outputs, folder, "augmax_images_*")
    text = text_of(outputs)
    assert "classes: four, one, three, two, zero" in text
    assert text.count(".png: ") == 5
    assert "the exported file sees: " in text
    (workdir,) = folder.glob("augmax_images_*")
    network = augmax_jax.load(workdir)
    folded = augmax_jax.models.single_route(network.variables, "clean")
    expected = augmax_jax.torch_export.to_state_dict(folded, "tiny", num_classes=5, norm="ibn")
    exported = load_file(workdir / "model.safetensors")
    assert exported.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(exported[name], array)


@pytest.mark.slow
def test_cifar10_runs(run):
    outputs, folder = run("cifar10")
    check_report(outputs, folder, "runs/cifar10")
    text = text_of(outputs)
    assert 0 <= float(text.split("this run")[1].split()[0]) <= 100
    assert "95.68" in text
