"""Real students, recorded: every setting's, on the whole pool and on parts of it.

    OMP_NUM_THREADS=1 python benchmarks/recorded.py [--tasks NAME …] [--cifar FOLDER]

Of each task of `comparison.py`, and four with larger pools, for ten settings and two seeds (of
three tasks also for forty settings): students of the whole pool with their error on the test part
after every epoch, students of a quarter, an eighth and a sixteenth of the pool, and students of
three quarters of the pool for a third of the epochs, as pilots are; what each decides on the test
part, and the CPU seconds that its training took. They are kept under benchmarks/cache, so that a
run goes on where the last one ended; `benchmarks/search.py` replays methods of search on them in
seconds.
"""

import argparse
import gzip
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison import (
    LENGTH,
    SETTINGS,
    STUDENT,
    TASKS,
    VOCABULARY,
    Spec,
    factory_of,
    task_of,
)
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import tutelage as tu
from tutelage.data.inputs import Inputs, length, shape
from tutelage.students.network import decisions
from tutelage.train.training import train

CACHE = Path(__file__).parent / "cache" / "recorded"
LARGER = {
    "fashion 10, strong, 30 % noise, mlp, 3000": Spec("fashion", None, 3000, 20000, 6, 0.3, "mlp"),
    "fashion 10, weak, mlp, 3000": Spec("fashion", None, 3000, 2000, 3, 0.0, "mlp"),
}
UNSEEN = {  # not looked at while the numbers of theory.md §3.3 were chosen, but for two of them
    "fashion 10, 15 % noise, mlp, 2000": Spec("fashion", None, 2000, 5000, 4, 0.15, "mlp"),
    "cifar cat or dog, 30 % noise, mlp, 2000": Spec("cifar", (3, 5), 2000, 8000, 8, 0.3, "mlp"),
}
TEXT = {  # sections of Debian packages by their descriptions; not looked at, either
    "text 10, 30 % noise, mlp, 2000": Spec("text", None, 2000, 4000, 0, 0.3, "mlp"),
    "text 10, mlp, 2000": Spec("text", None, 2000, 1500, 0, 0.0, "mlp"),
}
READ = {  # ten sections that are hard to tell apart, as token ids
    "text 10, transformer, 3000": Spec("text", None, 3000, 0, 0, 0.0, "transformer"),
    "text 10, 30 % noise, transformer, 3000": Spec("text", None, 3000, 0, 0, 0.3, "transformer"),
}
HARD = ("net", "admin", "utils", "devel", "libs", "doc", "misc", "x11", "science", "sound")
ALL = TASKS | LARGER | UNSEEN | TEXT | READ
FORTY = [(rho, t) for rho in (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0) for t in (1, 2, 4, 8, 16)]
WIDER = {  # the same tasks, on a finer grid
    f"{name}, 40 settings": ALL[name]
    for name in (
        "fashion 10, weak, mlp",
        "fashion 10, strong, 40 % noise, mlp",
        "fashion 10, strong, 30 % noise, mlp, 3000",
    )
}
PARTS = (1, 4, 8, 16)  # the pool is divided by
KINDS = (*((1 / part, 1) for part in PARTS), (3 / 4, 3))  # shares of the pool, divisors of epochs
SEEDS = 2


@dataclass(frozen=True)
class Recorded:
    """Students of one task.

    Attributes
    ----------
    decisions : array of shape (kinds, settings, seeds, M)
        Of the students of each of `KINDS`.
    epochs : array of shape (settings, seeds, epochs)
        Errors of the whole pool's students after every epoch.
    seconds : array of shape (kinds, settings, seeds)
        CPU seconds of each training.
    labels : array of shape (M,)
    """

    decisions: np.ndarray
    epochs: np.ndarray
    seconds: np.ndarray
    labels: np.ndarray

    @property
    def mistakes(self) -> np.ndarray:
        """Where students are wrong, (kinds, settings, seeds, M)."""
        return self.decisions != self.labels

    @property
    def truth(self) -> np.ndarray:
        """Each setting's error on the whole pool, mean of the seeds, (settings,)."""
        return self.mistakes[0].mean((1, 2))


def settings_of(name: str) -> list[tuple[float, float]]:
    """A task's settings, (ρ, T)."""
    return FORTY if name in WIDER else SETTINGS


def problem(name: str, cifar: Path) -> tuple[tu.Task, Spec]:
    """A task, and what it is."""
    spec = (ALL | WIDER)[name]
    if name in TEXT | READ:
        make = _text if name in TEXT else _read
        return make(name, spec, cifar.parent / "debtext" / "debtext.tsv.gz"), spec
    return task_of(name.removesuffix(", 40 settings"), spec, cifar), spec


def _text(name: str, spec: Spec, source: Path) -> tu.Task:
    """TF-IDF and SVD to 128 numbers, fitted on the teacher's samples; the teacher is an MLP on
    them.
    """
    path = CACHE.parent / "comparison" / f"{file_of(name)}.npz"
    if path.exists():
        return tu.Task.load(path)
    rows = _rows(source)
    sections = [section for section, _ in Counter(row[0] for row in rows).most_common(10)]
    rows = [row for row in rows if row[0] in sections]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows))[: spec.n + spec.taught + 2000]
    texts = [rows[i][1] for i in order]
    labels = np.array([sections.index(rows[i][0]) for i in order])
    pool, taught = slice(spec.n), slice(spec.n, spec.n + spec.taught)
    test = slice(spec.n + spec.taught, None)
    numbers = make_pipeline(
        TfidfVectorizer(max_features=20000, sublinear_tf=True),
        TruncatedSVD(128, random_state=0),
        StandardScaler(),
    )
    numbers.fit(texts[taught])
    x = numbers.transform(texts)
    teacher = MLPClassifier((256,), alpha=1.0, max_iter=30, random_state=0)
    teacher.fit(x[taught], labels[taught])
    logits, noisy = np.log(teacher.predict_proba(x) + 1e-9), labels[pool].copy()
    redrawn = rng.random(spec.n) < spec.noise
    noisy[redrawn] = rng.integers(0, 10, redrawn.sum())
    task = tu.Task(x[pool], logits[pool], noisy, x[test], logits[test], labels[test])
    task.save(path)
    return task


def _read(name: str, spec: Spec, source: Path) -> tu.Task:
    """Word pieces of the pool; the teacher is linear on TF-IDF, and tells of each tenth of the pool
    what the others taught it.
    """
    path = CACHE.parent / "comparison" / f"{file_of(name)}.npz"
    if path.exists():
        return tu.Task.load(path)
    rows = [row for row in _rows(source) if row[0] in HARD]
    texts, labels = [text for _, text in rows], np.array([HARD.index(row[0]) for row in rows])
    pool, test = slice(spec.n), slice(spec.n, spec.n + 1500)
    teacher = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=10.0, max_iter=2000)
    )
    told = cross_val_predict(teacher, texts[pool], labels[pool], cv=10, method="predict_log_proba")
    teacher.fit(texts[pool], labels[pool])
    noisy, rng = labels[pool].copy(), np.random.default_rng(0)
    redrawn = rng.random(spec.n) < spec.noise
    noisy[redrawn] = rng.integers(0, len(HARD), redrawn.sum())
    pieces = _pieces(texts[pool])
    task = tu.Task(
        _ids(pieces, texts[pool]), told, noisy,
        _ids(pieces, texts[test]), teacher.predict_log_proba(texts[test]), labels[test],
    )  # fmt: skip
    task.save(path)
    return task


def _rows(source: Path) -> list[list[str]]:
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("\t") for line in lines]


def _pieces(texts: list[str]) -> Tokenizer:
    found = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special)
    found.train_from_iterator(texts, trainer)
    found.enable_padding(length=LENGTH)
    found.enable_truncation(LENGTH)
    return found


def _ids(pieces: Tokenizer, texts: list[str]) -> dict[str, np.ndarray]:
    found = pieces.encode_batch(texts)
    return {
        "input_ids": np.array([f.ids for f in found]),
        "attention_mask": np.array([f.attention_mask for f in found]),
    }


def file_of(name: str) -> str:
    """What a task's files are called."""
    return name.replace(" ", "-").replace(",", "").replace("%", "percent")


def recorded(name: str, cifar: Path) -> Recorded:
    """Train a task's students, or read them."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{file_of(name)}.npz"
    if not path.exists():
        found = _record(*problem(name, cifar), settings_of(name))
        np.savez_compressed(path, **vars(found))
    with np.load(path) as kept:
        return Recorded(**kept)


def pilots(name: str, cifar: Path) -> np.ndarray:
    """Errors of a task's pilots after every epoch, (settings, seeds, epochs): trained, or read."""
    path = CACHE / f"{file_of(name)}.pilots.npy"
    if not path.exists():
        np.save(path, _record_pilots(*problem(name, cifar), settings_of(name)))
    return np.load(path)


def _record_pilots(task: tu.Task, spec: Spec, settings: list[tuple[float, float]]) -> np.ndarray:
    """The pilots of `_record`, watched."""
    pool, test = task.inputs(torch.float32, ids=spec.student == "transformer")
    examples, training = task.part("train", pool).floating(torch.float32), STUDENT[spec.student]
    share, divided = KINDS[-1]
    n, some, epochs = len(examples), int(len(examples) * share), round(training.epochs / divided)
    own = replace(training, epochs=epochs, until=epochs / training.epochs)
    curves = np.zeros((len(settings), SEEDS, epochs))
    for seed in range(SEEDS):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        for s, (rho, t) in enumerate(settings):
            last = n - s % 4 * (n - some)
            part = examples.rows(torch.cat([order[: last - (n - some)], order[last:]]))
            torch.manual_seed(200 + seed)
            network = factory_of(spec)(shape(pool), task.n_logits)
            watched = _Watched(network, test, task.y_test, each=True)
            loss = tu.lab.DistillationLoss(rho, t)
            train(network, part, loss, own, seed=200 + seed, progress=watched.progress)
            curves[s, seed] = watched.errors
    return curves


def _record(task: tu.Task, spec: Spec, settings: list[tuple[float, float]]) -> Recorded:
    pool, test = task.inputs(torch.float32, ids=spec.student == "transformer")
    examples, training = task.part("train", pool).floating(torch.float32), STUDENT[spec.student]
    count = (len(KINDS), len(settings), SEEDS)
    decided = np.zeros((*count, length(test)), np.int16)
    curves, seconds = np.zeros((*count[1:], training.epochs)), np.zeros(count)
    for seed in range(SEEDS):
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
        for k, (share, divided) in enumerate(KINDS):
            n, some = len(examples), int(len(examples) * share)
            epochs = round(training.epochs / divided)
            own = replace(training, epochs=epochs, until=epochs / training.epochs)
            chance, whole = 100 * (1 + (divided > 1)) + seed, share == divided == 1
            for s, (rho, t) in enumerate(settings):
                last = n - (s % 4 * (n - some) if divided > 1 else 0)  # pilots leave out folds
                part = examples.rows(torch.cat([order[: last - (n - some)], order[last:]]))
                torch.manual_seed(chance)
                network = factory_of(spec)(shape(pool), task.n_logits)
                watched = _Watched(network, test, task.y_test, whole)
                started = time.process_time()
                loss = tu.lab.DistillationLoss(rho, t)
                train(network, part, loss, own, seed=chance, progress=watched.progress)
                seconds[k, s, seed] = time.process_time() - started - watched.seconds
                decided[k, s, seed] = watched.decided()
                if whole:
                    curves[s, seed] = watched.errors
    return Recorded(decided, curves, seconds, task.y_test)


class _Watched:
    """A network's errors after every epoch, and the CPU seconds that looking takes."""

    def __init__(
        self, network: torch.nn.Module, test: Inputs, labels: np.ndarray, each: bool
    ) -> None:
        self._network, self._test, self._labels, self._each = network, test, labels, each
        self.errors: list[float] = []
        self.seconds = 0.0

    def decided(self) -> np.ndarray:
        mode = self._network.training
        found = decisions(self._network.eval(), self._test).numpy()
        self._network.train(mode)
        return found

    @contextmanager
    def progress(self, _: str, __: float) -> Iterator[Any]:
        def advance(_: float) -> None:
            if self._each:
                started = time.process_time()
                self.errors.append(float((self.decided() != self._labels).mean()))
                self.seconds += time.process_time() - started

        yield advance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="*", default=[*ALL, *WIDER])
    parser.add_argument(
        "--cifar", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10"
    )
    arguments = parser.parse_args()
    for name in arguments.tasks:
        found = recorded(name, arguments.cifar)
        spread = np.ptp(found.truth)
        print(
            f"{name}: errors {found.truth.min():.1%} … {found.truth.max():.1%} (spread"
            f" {100 * spread:.1f} points); one student {found.seconds[0].mean():.1f} CPU s, parts"
            f" {[round(float(s), 3) for s in found.seconds.mean((1, 2)) / found.seconds[0].mean()]}"
            " of it",
            flush=True,
        )


if __name__ == "__main__":
    main()
