"""How the arms are drawn, in every figure: a colour and a marker each."""

from __future__ import annotations

from verify.plotting import OKABE_ITO

# arm: colour, marker
ARMS = {
    "dense": (OKABE_ITO["black"], "s"),
    "frozen": (OKABE_ITO["sky"], "D"),
    "coupled": (OKABE_ITO["blue"], "o"),
    "blind": (OKABE_ITO["purple"], "v"),
    "local": (OKABE_ITO["vermilion"], "^"),
}
GREY = "#666666"
