"""From labelled texts to what `tutelage plan` reads: parquet files, and a small BERT to be taught.

    python examples/text.py texts.tsv text

`texts.tsv` (or .tsv.gz) has a line ``label<TAB>text`` for each sample, in random order. Into the
folder go `data/train.parquet` and `data/test.parquet`, with the token ids, the label, the text and
a teacher's log-probabilities, and `student/`, the configuration of a BERT of two layers with its
tokeniser. The teacher is linear on TF-IDF; of each tenth of the pool it tells what the others have
taught it, as a teacher's logits on samples that it was trained on would hide its errors.
"""

import argparse
import gzip
from pathlib import Path

import datasets
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, PreTrainedTokenizerFast

VOCABULARY, LENGTH = 4000, 64


def main() -> None:
    """Write both parts, and the student."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", nargs="*", help="Those that are kept; by default all.")
    parser.add_argument("--test", type=float, default=1 / 3, help="Share of the test part.")
    parser.add_argument("--most", type=int, help="Samples that are kept.")
    arguments = parser.parse_args()
    rows = [
        row for row in read(arguments.texts) if not arguments.labels or row[0] in arguments.labels
    ][: arguments.most]
    labels, texts = (list(column) for column in zip(*rows, strict=True))
    cut = round(len(texts) * (1 - arguments.test))
    pool, test = slice(cut), slice(cut, None)
    tokenizer = pieces(texts[pool])
    told = teacher(texts[pool], labels[pool], texts[test])
    for name, part, log_probs in (("train", pool, told[0]), ("test", test, told[1])):
        ids = tokenizer(texts[part], truncation=True, max_length=LENGTH)["input_ids"]
        data = {
            "input_ids": ids,
            "label": labels[part],
            "text": texts[part],
            "teacher_log_probs": log_probs.astype(np.float32).tolist(),
        }
        (arguments.folder / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(data).to_parquet(arguments.folder / "data" / f"{name}.parquet")
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=512, max_position_embeddings=LENGTH,
    )  # fmt: skip
    config.save_pretrained(arguments.folder / "student")
    tokenizer.save_pretrained(arguments.folder / "student")


def read(path: Path) -> list[list[str]]:
    """Labels and texts."""
    whole = path.read_bytes()
    text = (gzip.decompress(whole) if path.suffix == ".gz" else whole).decode()
    return [line.split("\t", 1) for line in text.splitlines()]


def teacher(
    texts: list[str], labels: list[str], others: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of classes in sorted order, of the pool and of the test part."""
    made = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=10.0, max_iter=2000)
    )
    told = cross_val_predict(made, texts, labels, cv=10, method="predict_log_proba")
    return told, made.fit(texts, labels).predict_log_proba(others)


def pieces(texts: list[str]) -> PreTrainedTokenizerFast:
    """Word pieces of the texts."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    found = Tokenizer(models.WordPiece(unk_token=special[1]))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=special, show_progress=False
    )
    found.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token=special[0], unk_token=special[1]
    )


if __name__ == "__main__":
    main()
