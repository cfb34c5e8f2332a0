# cffi makes both at run time from native/binding; what they hold is checked by tests, not by types.
from typing import Any

ffi: Any
lib: Any
