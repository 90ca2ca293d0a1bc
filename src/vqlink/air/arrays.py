"""Names of the arrays that this package passes round."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Complex = npt.NDArray[np.complexfloating]
Float = npt.NDArray[np.floating]
Int = npt.NDArray[np.int64]
