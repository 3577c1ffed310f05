"""What the columns of a table are, and the arrays of a task that come of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tutelage.data.checks import NOT_LABELLED, looks_channels_first
from tutelage.data.ensemble import ensemble
from tutelage.data.tables import Table, column, lib
from tutelage.exceptions import TaskError, nearest

ROLES = ("x", "labels", "teacher_logits", "teacher_log_probs", "teacher_indices", "teacher_values")
_KNOWN = {
    "labels": ("labels", "label", "y", "y_train"),
    "teacher_logits": ("teacher_logits", "teacher_logits_train"),
    "teacher_log_probs": ("teacher_log_probs",),
    "teacher_indices": ("teacher_indices",),
    "teacher_values": ("teacher_values",),
}
_NUMBERS = ("id", "idx", "index", "guid", "__index_level_0__")  # that samples are known by
IDS, MASK = "input_ids", "attention_mask"
_SUM = {2: 0.03, 4: 0.003, 8: 0.003}  # how far probabilities may miss 1, by bytes of a number
_SEVERAL = ("x", "teacher_logits", "teacher_log_probs")  # roles of which there may be several
CHUNK = 8192  # samples at a time
Given = Mapping[str, str | Sequence[str] | Mapping[str, float]]


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are inputs, labels and what the teacher says.

    Attributes
    ----------
    x : tuple of str
    labels : str, optional
    teacher : tuple of str
        Logits or log-probabilities, of one teacher or of several; or indices and values of the
        largest.
    kind : {"teacher_logits", "teacher_log_probs", "teacher_indices"}
    named : bool
        Whether inputs go to the student's `forward` by name.
    text : str, optional
        A column of texts, by which the report shows samples.
    weights : tuple of float
        Of several teachers, as they are given.
    """

    x: tuple[str, ...]
    labels: str | None
    teacher: tuple[str, ...]
    kind: str
    named: bool
    text: str | None = None
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, table: Table, given: Given | None = None, *, taught: bool = True) -> "Columns":
        """Find them by their names, or as they are given; a table that is not `taught` has nothing
        of a teacher yet.

        Raises
        ------
        TaskError
            If some are missing, or could be more than one thing.
        """
        chosen = _given(table, given or {})
        told = any(role in chosen for role in ROLES[2:])  # which columns are the teacher's
        for role, names in _KNOWN.items():
            there = [name for name in names if name in table.names]
            if told and role in ROLES[2:]:
                continue
            if role not in chosen and len(there) > 1:
                raise TaskError(
                    f"{table.where} has the columns {' and '.join(there)}; say which are the"
                    f" {role}: --columns {role}={there[0]}."
                )
            if there:
                chosen.setdefault(role, there)
        kind, teacher = _teacher(table, chosen) if taught else ("", ())
        taken = {n for names in (*chosen.values(), *_KNOWN.values()) for n in names}
        rest = [name for name in table.names if name not in taken]
        texts = _texts_among(table, rest)
        x = tuple(chosen.get("x") or _inputs(table, rest, texts))
        named = len(x) > 1 or x == (IDS,)
        labels = chosen["labels"][0] if "labels" in chosen else None
        text = next((name for name in texts if name not in x), None)
        weights = _weights(given, kind)
        return cls(x, labels, teacher, kind, named, text, weights)


def _given(table: Table, given: Given) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for role, names in given.items():
        if role not in ROLES:
            raise TaskError(
                f"--columns knows no {role!r}{nearest(role, ROLES)}; expected {', '.join(ROLES)}."
            )
        chosen[role] = [names] if isinstance(names, str) else list(names)
        for name in chosen[role]:
            if name not in table.names:
                raise TaskError(
                    f"{table.where} has no column {name}{nearest(name, table.names)}; it has"
                    f" {', '.join(table.names)}."
                )
        if role not in _SEVERAL and len(chosen[role]) > 1:
            raise TaskError(f"--columns gives {role} twice; expected one column.")
    return chosen


def _weights(given: Given | None, kind: str) -> tuple[float, ...]:
    named = (given or {}).get(kind)
    return tuple(named.values()) if isinstance(named, Mapping) else ()


def _teacher(table: Table, chosen: Mapping[str, list[str]]) -> tuple[str, tuple[str, ...]]:
    whole = [kind for kind in ROLES[2:4] if kind in chosen]
    top = [kind for kind in ROLES[4:] if kind in chosen]
    if len(whole) + bool(top) > 1:
        raise TaskError(
            f"{table.where} has {' and '.join([*whole, *top])}; expected what the teacher says"
            " once. Give the others another name, or leave them out."
        )
    if whole:
        return whole[0], tuple(chosen[whole[0]])
    if len(top) == 2:
        return top[0], (*chosen[top[0]], *chosen[top[1]])
    lacking = f"{top[0]} and no other half of the largest" if top else "nothing of the teacher"
    raise TaskError(
        f"{table.where} has {lacking}; expected a column teacher_logits, teacher_log_probs, or"
        f" teacher_indices and teacher_values. It has {', '.join(table.names)}; say which it is"
        " with --columns teacher_logits=NAME."
    )


def _texts_among(table: Table, rest: list[str]) -> list[str]:
    """Columns that hold text, and are not what samples are numbered by."""
    types = lib().types
    kinds = {f.name: f.type for f in table.arrow(rest, 0, 1).schema}
    held = [n for n in rest if types.is_string(kinds[n]) or types.is_large_string(kinds[n])]
    return [name for name in held if name not in _NUMBERS]


def _inputs(table: Table, rest: list[str], texts: list[str]) -> list[str]:
    """Inputs among the columns that are nothing else: those with numbers in them."""
    found = [n for n in rest if n not in texts and n not in _NUMBERS]
    for name in ("x", "x_train"):
        if name in found:
            return [name]
    if found:
        return found
    said = f" {', '.join(texts)} is text; a student reads token ids." if texts else ""
    raise TaskError(
        f"{table.where} has no column of inputs.{said} Add what the tokeniser makes of it, such as"
        " input_ids and attention_mask: dataset.map(lambda row: tokenizer(row['text'],"
        " padding='max_length', truncation=True))."
    )


@dataclass
class Rows:
    """The arrays of some rows of one or two tables, with what was done to make them.

    Attributes
    ----------
    columns : Columns
    classes : int, optional
        Of the teacher, where only the largest are stored.
    names : list of str, optional
        Of the classes, where labels are text.
    longest : dict, optional
        To how many token ids each column is padded; by default to those of the longest sample that
        is read with it.
    notes : list of str
    """

    columns: Columns
    classes: int | None = None
    names: list[str] | None = None
    longest: dict[str, int] | None = None
    notes: list[str] = field(default_factory=list)

    def inputs(self, table: Table, start: int, stop: int) -> Any:
        """One array, or several by name; ragged token ids are padded."""
        read = table.arrow(self.columns.x, start, stop)
        longest = _longest([read], _tokens(read)) if self.longest is None else self.longest
        found = {
            name: (
                _padded(read[name], longest[name], name, table.where, start)
                if name in longest
                else column(read[name], name, table.where, start)
            )
            for name in self.columns.x
        }
        if longest:
            self._note(
                "Token ids of different lengths were padded with 0 to"
                f" {max(longest.values())} of the longest sample."
            )
            if self.columns.named and IDS in longest and MASK not in found:
                found[MASK] = _mask(read[IDS], longest[IDS])
                self._note(f"An {MASK} was made, 0 where {IDS} are padded.")
        for name, values in found.items():
            if values.dtype.kind in "OUS":
                raise TaskError(
                    f"{name} of {table.where} holds text, where a student reads token ids; add what"
                    " the tokeniser makes of it, such as input_ids and attention_mask."
                )
            empty = np.flatnonzero(~values.reshape(len(values), -1).any(1))
            if name == MASK and len(empty):
                raise TaskError(
                    f"{MASK} of {table.where} is 0 everywhere in sample {empty[0] + start}, so"
                    " that the student sees nothing of it; leave such samples out."
                )
        if self.columns.named:
            return found
        [only] = found.values()
        return only[:, None] if only.ndim == 1 else only

    def labels(self, table: Table, start: int, stop: int) -> np.ndarray | None:
        """Class indices, NOT_LABELLED where there is none; None where there is no such column."""
        name = self.columns.labels
        if name is None or name not in table.names:
            return None
        values = table.arrow([name], start, stop)[name]
        if self.names is not None:
            number = {text: k for k, text in enumerate(self.names)}
            texts = values.to_pylist()
            return np.array([NOT_LABELLED if t is None else number[t] for t in texts], np.int64)
        if values.null_count:
            values = values.fill_null(NOT_LABELLED)
        return column(values, name, table.where, start)

    def text(self, table: Table, index: int) -> str | None:
        """What one sample says, where there is a column of texts."""
        name = self.columns.text
        if name is None:
            return None
        [found] = table.arrow([name], index, index + 1)[name].to_pylist()
        return found or ""

    def teacher(self, table: Table, start: int, stop: int) -> np.ndarray:
        """Logits, (n, C) or (n,)."""
        read = table.arrow(self.columns.teacher, start, stop)
        parts = [column(read[name], name, table.where, start) for name in self.columns.teacher]
        if self.columns.kind == "teacher_log_probs":
            for part, name in zip(parts, self.columns.teacher, strict=True):
                _check_sums(part, name, table.where, start)
        if self.columns.kind != "teacher_indices":
            return parts[0] if len(parts) == 1 else self._mean(parts, table)
        assert self.classes is not None
        indices, values = parts
        return _spread(indices, values, self.classes, table.where, start)

    def _mean(self, parts: list[np.ndarray], table: Table) -> np.ndarray:
        """Of several teachers."""
        names, weights = self.columns.teacher, self.columns.weights
        try:
            found = ensemble(parts, weights or None)
        except TaskError as error:
            raise TaskError(f"{table.where}, {', '.join(names)}: {error}") from error
        shares = [w / sum(weights) for w in weights] or [1 / len(names)] * len(names)
        said = ", ".join(f"{name} {share:.3g}" for name, share in zip(names, shares, strict=True))
        self._note(f"The teacher is the mean of several, in probability: {said}.")
        return found

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def arguments(
    tables: Mapping[str, Table], given: Given | None = None, classes: int | None = None
) -> dict[str, Any]:
    """Read a task's arguments from a pool and, where there is one, a test part.

    Parameters
    ----------
    tables : mapping
        "train", and perhaps "test".
    given : mapping, optional
        Columns by their role.
    classes : int, optional
        Of a teacher of whom only the largest scores are stored; by default as many as there are
        labels and indices.

    Raises
    ------
    TaskError
        If they are no task.
    """
    rows = rows_of(tables, given, classes)
    found: dict[str, Any] = {}
    for part, table in tables.items():
        whole = (table, 0, table.n)
        found |= {
            f"x_{part}": rows.inputs(*whole),
            f"teacher_logits_{part}": (
                rows.teacher(*whole)
                if part == "train" or set(rows.columns.teacher) <= set(table.names)
                else None
            ),
            f"y_{part}": rows.labels(*whole),
        }
    if rows.names is not None:
        found["class_names"] = tuple(rows.names)
    if rows.columns.text is not None:
        name, table = rows.columns.text, tables["train"]
        read = table.arrow([name], 0, table.n)[name].to_pylist()
        found["texts"] = tuple(text or "" for text in read)
    pool = found["x_train"]
    if not isinstance(pool, dict) and looks_channels_first(pool.shape):
        found["image_layout"] = "channels_first"
        rows.notes.append(
            f"Inputs of shape {pool.shape[1:]} were taken for images with their channels first."
        )
    return {k: v for k, v in found.items() if v is not None} | {"notes": tuple(rows.notes)}


def rows_of(tables: Mapping[str, Table], given: Given | None, classes: int | None) -> Rows:
    """What columns are, and how many classes there are."""
    rows = Rows(Columns.of(tables["train"], given), classes)
    tokens = _tokens(tables["train"].arrow(rows.columns.x, 0, 1))
    parts = [t for t in tables.values() if set(tokens) <= set(t.names)] if tokens else []
    rows.longest = _longest((read for t in parts for read in _chunks(t, tokens)), tokens)
    label = rows.columns.labels
    texts = [_texts(t, label) for t in tables.values() if label is not None and label in t.names]
    if any(found is not None for found in texts):
        rows.names = sorted({text for found in texts for text in found or ()})
        said = ", ".join(f"{k} {name}" for k, name in enumerate(rows.names[:20]))
        more = ", …" if len(rows.names) > 20 else ""
        rows.notes.append(f"Labels are text, and were numbered in sorted order: {said}{more}.")
    if rows.columns.kind == "teacher_indices":
        rows.classes = rows.classes or _counted(tables, rows)
        rows.notes.append(
            f"Of the teacher's {rows.classes} classes the largest are stored; what probability they"
            " leave was spread evenly over the others."
        )
    return rows


def _chunks(table: Table, names: Sequence[str]) -> Iterator[Any]:
    """All rows of some columns, some at a time, as the table may be larger than memory."""
    return (table.arrow(names, at, at + CHUNK) for at in range(0, max(1, table.n), CHUNK))


def _texts(table: Table, label: str) -> set[str] | None:
    pa, found = lib(), set()

    for read in _chunks(table, [label]):
        kind = getattr(read[label].type, "value_type", read[label].type)  # of a dictionary's values
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return None
        found.update(read[label].unique().to_pylist())
    return found - {None}


def _counted(tables: Mapping[str, Table], rows: Rows) -> int:
    """Classes of which there are indices or labels."""
    largest = 0
    for table in tables.values():
        name = rows.columns.teacher[0]
        if name in table.names:
            values = column(table.arrow([name], 0, table.n)[name], name, table.where)
            largest = max(largest, int(values.max()))
        labels = rows.labels(table, 0, table.n)
        largest = max(largest, int(labels.max())) if labels is not None else largest
    return largest + 1


def _spread(
    indices: np.ndarray, values: np.ndarray, classes: int, where: str, start: int
) -> np.ndarray:
    """Log-probabilities of all classes from those of the largest, (n, C)."""
    if indices.shape != values.shape or indices.ndim != 2 or indices.dtype.kind not in "iu":
        raise TaskError(
            f"{where} has teacher_indices of shape {indices.shape} ({indices.dtype}) and"
            f" teacher_values of shape {values.shape}; expected whole numbers and log-probabilities"
            " of the same shape, (n, k)."
        )
    for wrong, said in (
        ((indices < 0) | (indices >= classes), f"an index outside 0 … {classes - 1}"),
        (np.diff(np.sort(indices, 1), axis=1) == 0, "an index twice"),
        (np.diff(values, axis=1) > 0, "values that do not fall"),
    ):
        samples = np.flatnonzero(wrong.any(1))
        if len(samples):
            raise TaskError(
                f"{where} has in sample {samples[0] + start} {said} among the teacher's largest;"
                " expected each class once, the largest first."
                + (" Give --classes if there are more." if "outside" in said else "")
            )
    kept, k = np.exp(values.astype(np.float64)).sum(1), indices.shape[1]
    allowed = _SUM[values.dtype.itemsize]
    if float(kept.max()) > 1 + allowed:
        bad = int(kept.argmax())
        raise TaskError(
            f"teacher_values of {where} have {kept[bad]:.3g} as the sum of their exponentials in"
            f" sample {bad + start}; expected log-probabilities, whose sum is 1 at most: from"
            " logits z of all classes, torch.log_softmax(z, -1).topk(k)."
        )
    others = np.log(np.clip(1 - kept, 1e-6, None) / max(1, classes - k))
    # No class that was left out stands above one that was kept.
    filled = np.minimum(others, values[:, -1].astype(np.float64))
    found = np.repeat(filled[:, None], classes, 1)
    np.put_along_axis(found, indices.astype(np.int64), values.astype(np.float64), 1)
    return found


def _check_sums(values: np.ndarray, name: str, where: str, start: int) -> None:
    if values.ndim != 2 or values.dtype.kind != "f":
        raise TaskError(
            f"{name} of {where} has shape {values.shape} ({values.dtype}); expected the logarithms"
            " of probabilities, one for each class."
        )
    sums = np.exp(values.astype(np.float64)).sum(1)
    bad = np.flatnonzero(~(np.abs(sums - 1) <= _SUM[values.dtype.itemsize]))
    if len(bad):
        raise TaskError(
            f"{name} of {where} are no log-probabilities: the probabilities of sample"
            f" {bad[0] + start} sum to {sums[bad[0]]:.3g}. If they are raw scores, call the column"
            " teacher_logits (--columns teacher_logits=NAME)."
        )


def _longest(parts: Iterable[Any], names: Sequence[str]) -> dict[str, int]:
    """Of columns of token ids whose lengths differ, the largest."""
    pc = lib("compute")

    known: dict[str, set[int]] = {name: set() for name in names}
    for read in parts:
        for name in names:
            known[name].update(pc.unique(pc.list_value_length(read[name])).to_pylist())
    lengths = {name: found - {None} for name, found in known.items()}
    return {name: max(found) for name, found in lengths.items() if len(found) > 1}


def _tokens(read: Any) -> list[str]:
    """Columns of lists of whole numbers."""
    types = lib().types

    def of_lists(kind: Any) -> bool:
        lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(lists and types.is_integer(kind.value_type))

    return [field.name for field in read.schema if of_lists(field.type)]


def _padded(values: Any, longest: int, name: str, where: str, start: int) -> np.ndarray:
    lists = values.combine_chunks()
    if lists.null_count:
        missing = int(np.flatnonzero(np.asarray(lists.is_null()))[0])
        raise TaskError(
            f"{name} of {where} has no value in sample {missing + start}; expected token ids for"
            " every sample."
        )
    found = np.zeros((len(lists), longest), np.int64)
    found[_mask(values, longest) > 0] = lists.flatten().to_numpy(zero_copy_only=False)
    return found


def _mask(values: Any, longest: int) -> np.ndarray:
    lengths = np.asarray(lib("compute").list_value_length(values.combine_chunks()))
    return (np.arange(longest) < lengths[:, None]).astype(np.int64)
