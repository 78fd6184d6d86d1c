"""Thin helper library behind the notebooks of this reproduction.

Read the notebooks first; each module here holds one idea and is named after it.
"""

from lib._memory import keep_freed_memory
from lib._torchvision import ensure_torchvision_imports

keep_freed_memory()
ensure_torchvision_imports()
