"""Under pytest the shapes in signatures are checked at every call."""

from jaxtyping import install_import_hook

install_import_hook(["tutelage.theory", "tutelage.kernels"], "beartype.beartype")
