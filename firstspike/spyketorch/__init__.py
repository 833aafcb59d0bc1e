"""Drop-in replacement for SpykeTorch 0.0.1: its names, arguments and results over the library's own code.

    from firstspike.spyketorch import snn, functional as sf, utils, visualization

    import firstspike.spyketorch
    firstspike.spyketorch.install()             # from here on `from SpykeTorch import snn` gives these
    modules

Spike waves are (T, C, H, W) and cumulative: a neuron that fires at step t is 1 from t on. A batch of them,
(N, T, C, H, W), is accepted everywhere too. T is at most 255. Arguments are only changed by functions whose
name ends in an underscore. Written from the documented behaviour of Mozafari et al., "SpykeTorch", Frontiers
in Neuroscience 13:625 (2019).
"""

import importlib
import sys

_NAME = "SpykeTorch"
_MODULES = ("functional", "snn", "utils", "visualization")


def install() -> None:
    """Let `import SpykeTorch` and its four modules mean this package, for programs written for SpykeTorch."""
    sys.modules[_NAME] = sys.modules[__name__]
    for module in _MODULES:
        sys.modules[f"{_NAME}.{module}"] = importlib.import_module(f"{__name__}.{module}")
