"""Cost models by name."""

from __future__ import annotations

from course.errors import UserError
from course.simulator.costs.fitted import FITTED, FittedCost
from course.simulator.costs.roofline import IDEAL, Efficiency, RooflineCost
from course.simulator.hardware import Hardware
from course.simulator.linear import LinearCost
from course.simulator.links import Link
from course.simulator.names import unknown_name
from course.simulator.run import CostModel
from course.simulator.shapes import ModelShape

ROOFLINES = {"roofline": Efficiency(), "roofline-ideal": IDEAL}
COSTS = (*ROOFLINES, *FITTED, "linear")


def make_cost(
    name: str, shape: ModelShape, hardware: Hardware, tp: int = 1, pp: int = 1, link: Link | None = None
) -> CostModel:
    """The cost model of that name for one instance of ``tp`` * ``pp`` accelerators.

    ``link`` joins the accelerators of the instance; only the roofline asks for it (default: the hardware's own).

    Raises:
        UserError: for an unknown name, and for a model, hardware or split that the cost model does not cover.
    """
    if name in ROOFLINES:
        return RooflineCost(shape, hardware, tp, pp, link, ROOFLINES[name])
    if name in FITTED:
        if hardware.name != "a100-80gb":
            raise UserError(
                f"cost {name!r} was fitted on hardware 'a100-80gb', not on {hardware.name!r}; "
                "use that hardware or cost 'roofline'"
            )
        return FittedCost(name, shape.name, tp, pp)
    if name == "linear":
        return LinearCost()
    raise UserError(unknown_name("cost", name, COSTS))
