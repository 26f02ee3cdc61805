"""The method of docs/methods.md works as it stands there."""

import re
from pathlib import Path

from augmax_jax import methods
from augmax_jax.config import defaults


def test_the_example_registers_a_method():
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    section = text[text.index("## A method of your own") :]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    before = list(methods.METHODS)
    try:
        exec(compile(example, "docs/methods.md", "exec"), {})
        (name,) = set(methods.METHODS) - set(before)
        config = defaults()
        config.method = name
        methods.check(config)
        methods.create(config, 10)
    finally:
        for name in set(methods.METHODS) - set(before):
            del methods.METHODS[name]
