"""Students: closed forms and networks, by SPEC and as data."""

from tutelage.students._wide import wide
from tutelage.students.network import EPOCHS, TorchStudent
from tutelage.students.spec import as_student, from_dict, network_of, student, to_dict
from tutelage.students.start import ClosedForm, Given, Start, Student

__all__ = [
    "EPOCHS",
    "ClosedForm",
    "Given",
    "Start",
    "Student",
    "TorchStudent",
    "as_student",
    "from_dict",
    "network_of",
    "student",
    "to_dict",
    "wide",
]
