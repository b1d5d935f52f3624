"""Train, evaluate and export appearance-based gaze models: from a picture of a face to where it looks."""

import os

# albumentations asks the package registry for its newest version at import; a training run should not.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__version__ = "0.1.0"
