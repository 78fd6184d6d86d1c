"""Thin helper library behind the notebooks of this reproduction.

Read the notebooks first; each module here holds one idea and is named after it.
"""

from lib._torchvision import ensure_torchvision_imports

ensure_torchvision_imports()
