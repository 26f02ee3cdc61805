"""The wheel has all that it should, and works where there is no repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "augmax_jax", "configs")
OPTIONAL = ["matplotlib", "ml_collections", "orbax", "sklearn", "tensorflow", "torch", "tqdm"]

CORE = f"""
import sys
sys.modules.update(dict.fromkeys({OPTIONAL}))  # importing one of them fails
import augmax_jax, jax, numpy as np
from augmax_jax import adversary, augment, corruptions, models, objectives
images = np.zeros((2, 16, 16, 3), np.uint8)
assert augmax_jax.augmix(jax.random.key(0), images).shape == images.shape
print(augmax_jax.__file__)
"""


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, as the build leaves folders behind."""
    pytest.importorskip("setuptools", "77")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_every_module_and_config(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [*(ROOT / "augmax_jax").rglob("*.py"), ROOT / "augmax_jax" / "py.typed"]
    files += (ROOT / "augmax_jax" / "report" / "templates").iterdir()
    configs = [*(ROOT / "configs").glob("*.py"), *(ROOT / "configs").glob("baselines/*.json")]
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    expected |= {f"augmax_jax/{path.relative_to(ROOT).as_posix()}" for path in configs}
    assert names == expected


def test_the_wheel_asks_for_no_tensorflow_without_an_extra(wheel):
    archive = zipfile.ZipFile(wheel)
    (path,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    metadata = Parser().parsestr(archive.read(path).decode())
    core = [text for text in metadata.get_all("Requires-Dist") if "extra ==" not in text]
    assert any(text.startswith("jax") for text in core)
    assert not [text for text in core if text.startswith(("tensorflow", "torch", "orbax"))]
    assert {"train", "tfds", "tensorboard", "torch", "all"} <= set(
        metadata.get_all("Provides-Extra")
    )


@pytest.mark.slow
def test_it_works_outside_the_repository(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index",
        "--quiet", wheel)  # fmt: skip
    # The dependencies are those of this environment; its own augmax_jax is not among them.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    clean["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir
    place = {"cwd": tmp_path, "env": clean}

    assert run(python, "-c", CORE, **place).startswith(str(site))
    program = environment / "bin" / "augmax-jax"
    listed = run(program, "list", "configs", **place).splitlines()
    assert len(listed) == len([*(ROOT / "configs").glob("*.py")])
    assert "networks:" in run(program, "list", **place)

    settings = ["--config.method=normal", "--config.evaluate.benchmarks=()"]
    settings += ["--config.max_steps=2", "--config.tensorboard=false"]
    options = ["--config=digits", "--workdir=run", *settings]
    run(program, "train", *options, **place)
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    baselines = kept["evaluate"]["baseline"].split(",")
    assert len(baselines) == 3
    assert all(Path(path).is_relative_to(site) for path in baselines)
    (tmp_path / "run" / "results.json").unlink()
    run(program, "evaluate", *options, **place)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["clean"]["last"]["step"] == 2
    assert "Report" in run(program, "report", "run", **place)
    # A child finds its parent there too, and a path still does.
    code = "import sys; from augmax_jax.config import load; print(load(sys.argv[1]).model.name)"
    for config in ("imagenet_r50", ROOT / "configs" / "imagenet_r50.py"):
        assert run(python, "-c", code, config, **place).strip() == "resnet50_imagenet"
