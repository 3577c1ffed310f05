"""The mathematics of docs/theory.md, one file per section: tensors in, tensors out."""
