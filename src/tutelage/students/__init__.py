"""Students: closed forms and networks, by SPEC and as data."""

from tutelage.students.network import EPOCHS, TorchStudent
from tutelage.students.spec import from_dict, network_of, student, to_dict
from tutelage.students.wide import wide

__all__ = ["EPOCHS", "TorchStudent", "from_dict", "network_of", "student", "to_dict", "wide"]
