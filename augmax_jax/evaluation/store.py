"""Results of a benchmark that are kept part by part, and belong to what was evaluated."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.evaluation import identity
from augmax_jax.runtime import files, hosts, storage
from augmax_jax.runtime.paths import RunPath

logger = logging.getLogger(__name__)

# corruption (or "all" for a set without) -> severity -> scores
Rows = dict[str, dict[str, dict[str, Any]]]


class Store:
    """The scores of the parts evaluated so far, kept in a JSON file.

    Of several processes, all read the file and the first one writes it.

    The file has the identity of the network, of the set, and of each part. If the network or the
    set differs, the file is started anew; if a part differs, it is evaluated again. The log says
    both.

    Args:
        path: the file; None: no file.
        network: facts that identify this network, as values that JSON can hold.
        benchmark: the set.

    Attributes:
        path: the file.
        rows: the scores by corruption and severity.
    """

    def __init__(
        self,
        path: RunPath | None = None,
        *,
        network: Mapping[str, Any] | None = None,
        benchmark: Benchmark | None = None,
    ) -> None:
        of_set = {"place": benchmark.location, **benchmark.recipe} if benchmark else {}
        # In the form that JSON gives back, so that they compare equal.
        self._network = json.loads(files.dumps(network or {}))
        self._set = json.loads(files.dumps(of_set))
        self.path = path
        self.rows: Rows = {}
        self._parts: dict[str, dict[str, dict[str, Any]]] = {}
        if path is not None:
            if hosts.is_writer():
                storage.make(path.parent)
            self._read(path)

    def _read(self, path: RunPath) -> None:
        kept = files.read_json(path, numbers=True)
        if kept is None:
            return
        damaged = ValueError(f"{path} is damaged (it holds no results); remove it or restore it")
        if not isinstance(kept, dict):
            raise damaged
        before = {"network": kept.get("network", {}), "set": kept.get("set", {})}
        if not all(isinstance(facts, dict) for facts in before.values()):
            raise damaged
        if before == {"network": self._network, "set": self._set}:
            self.rows, self._parts = kept.get("rows", {}), kept.get("parts", {})
            if not _are_results(self.rows, self._parts):
                raise damaged
            return
        changed = ", ".join(
            filter(
                None,
                (
                    identity.difference(before["network"], self._network),
                    identity.difference(before["set"], self._set),
                ),
            )
        )
        logger.info("%s keeps results of another evaluation (%s); evaluating anew", path, changed)

    @property
    def owner(self) -> str:
        """A digest of the network and the set, for other files of this evaluation."""
        return identity.digest(
            json.dumps([self._network, self._set], sort_keys=True, allow_nan=False)
        )

    def has(self, corruption: str, severity: str, part: Mapping[str, Any]) -> bool:
        """Whether the store has scores of a part with the present content.

        Args:
            corruption: the row.
            severity: the column.
            part: present identity of the part; empty if that of the whole set is enough.
        """
        if severity not in self.rows.get(corruption, {}):
            return False
        before = self._parts[corruption][severity]
        if before == part:
            return True
        logger.info(
            "%s: %s %s is not what was evaluated before (%s); evaluating it anew",
            self.path,
            corruption,
            severity,
            identity.difference(before, part),
        )
        return False

    def add(
        self, corruption: str, severity: str, found: dict[str, Any], part: Mapping[str, Any]
    ) -> None:
        """Keeps the scores of one part, and its identity."""
        self.rows.setdefault(corruption, {})[severity] = found
        self._parts.setdefault(corruption, {})[severity] = dict(part)
        if self.path is not None and hosts.is_writer():
            kept = {"network": self._network, "set": self._set}
            files.write_json(self.path, kept | {"rows": self.rows, "parts": self._parts})

    def keep_only(self, parts: Sequence[tuple[str, str]]) -> None:
        """Removes parts that the set does not have."""
        for corruption, severity in [(c, s) for c, by in self.rows.items() for s in by]:
            if (corruption, severity) not in parts:
                del self.rows[corruption][severity], self._parts[corruption][severity]
        self.rows = {c: by for c, by in self.rows.items() if by}
        self._parts = {c: by for c, by in self._parts.items() if by}

    def clear(self) -> None:
        """Removes all parts."""
        self.rows, self._parts = {}, {}

    def share(self) -> None:
        """Gives all processes the first one's parts; each process must call it."""
        self.rows, self._parts = hosts.from_writer([self.rows, self._parts])

    def identity(self) -> dict[str, Any]:
        """The identity of the evaluated set, as in `results.json`."""
        return {**self._set, **identity.combined(self._parts)}

    def write_csv(self) -> None:
        """Writes the rows as a table beside the JSON file."""
        if self.path is None or not hosts.is_writer():
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["corruption", "severity", "accuracy", "loss", "ece", "count"])
        for corruption, by_severity in self.rows.items():
            for severity, row in by_severity.items():
                values = [row[name] for name in ("accuracy", "loss", "ece", "count")]
                writer.writerow([corruption, severity, *values])
        files.write_text(self.path.with_suffix(".csv"), text.getvalue())


def _are_results(rows: Any, parts: Any) -> bool:
    """Whether values are rows of scores, and the identity of each part."""
    if not (isinstance(rows, dict) and isinstance(parts, dict) and rows.keys() == parts.keys()):
        return False
    for name, by_severity in rows.items():
        of_parts = parts[name]
        if not (isinstance(by_severity, dict) and isinstance(of_parts, dict)):
            return False
        if by_severity.keys() != of_parts.keys():
            return False
        if not all(isinstance(part, dict) for part in of_parts.values()):
            return False
        if not all(_are_scores(found) for found in by_severity.values()):
            return False
    return True


def _are_scores(found: Any) -> bool:
    numbers = ("accuracy", "loss", "ece", "count")
    return (
        isinstance(found, dict)
        and all(isinstance(found.get(name), int | float) for name in numbers)
        and isinstance(found.get("by_class", {}), dict)
    )
