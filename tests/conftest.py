"""Under pytest the shapes in signatures are checked at every call, but for what numba compiles."""

from pathlib import Path

from jaxtyping import install_import_hook

KERNELS = Path(__file__).parents[1] / "src" / "tutelage" / "kernels"
checked = [
    path.stem for path in KERNELS.glob("*.py") if path.stem not in ("__init__", "compiled", "duals")
]
install_import_hook(
    ["tutelage.theory", *(f"tutelage.kernels.{name}" for name in checked)], "beartype.beartype"
)
