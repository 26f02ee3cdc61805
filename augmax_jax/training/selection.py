"""Choosing the best checkpoint while a run trains."""

from typing import Any

from augmax_jax.evaluation.predictions import model_score, predict, scores
from augmax_jax.runtime import parallel
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.run import Run


class Selection:
    """Keeps the best checkpoint: highest accuracy on the selection set, then lowest loss.

    Args:
        run: the run; `config.select_on` says whether the held-out slice selects, or the test
            split as in the literature.
        checkpoints: the run's checkpoints.
        best: the record of the best checkpoint so far, or None.
    """

    def __init__(self, run: Run, checkpoints: Checkpoints, best: dict[str, Any] | None):
        self.best = best
        self._checkpoints = checkpoints
        self._name = run.config.select_on
        split = run.data.test if self._name == "test" else run.data.holdout
        assert split is not None  # run.check and data.load ensure it
        self._split = split
        self._score = model_score(run.model, run.devices)
        self._batch_size = run.config.eval_batch_size
        self._devices = len(parallel.own(run.devices))

    def __call__(self, step: int, state: Any) -> dict[str, float]:
        """Evaluates a replicated state, keeps it if it is the best, and returns its scores.

        Raises:
            ValueError: the network gives NaN or infinity, and so has no accuracy.
        """
        score = self._score(state.variables)
        predicted = predict(
            score,
            self._split,
            self._batch_size,
            devices=self._devices,
            what=f"the {self._name} split after step {step}",
        )
        found = scores(*predicted)
        rank = (found["accuracy"], -found["loss"])
        if self.best is None or rank >= (self.best["accuracy"], -self.best["loss"]):
            self.best = {"step": step, "split": self._name, **found}
            self._checkpoints.save("best", step, parallel.first(state), self.best)
        return {f"{self._name}_{name}": found[name] for name in ("accuracy", "loss")}

    def postfix(self) -> dict[str, float]:
        """The values for the progress bar."""
        return {"best SA": 100 * self.best["accuracy"]} if self.best else {}
