"""Cost models by name."""

from __future__ import annotations

from dataclasses import replace

from course.errors import UserError
from course.simulator.costs.fitted import FITTED, FittedCost
from course.simulator.costs.measured import MeasuredCost, fit
from course.simulator.costs.profile import profile_named
from course.simulator.costs.roofline import EAGER, IDEAL, Efficiency, RooflineCost
from course.simulator.hardware import Hardware
from course.simulator.linear import LinearCost
from course.simulator.links import Link
from course.simulator.names import unknown_name
from course.simulator.run import StagedCostModel
from course.simulator.shapes import ModelShape

ROOFLINES = {"roofline": Efficiency(), "roofline-eager": EAGER, "roofline-ideal": IDEAL}
COSTS = (*ROOFLINES, *FITTED, "measured", "linear")


def make_cost(
    name: str,
    shape: ModelShape,
    hardware: Hardware,
    tp: int = 1,
    pp: int = 1,
    link: Link | None = None,
    efficiency: Efficiency | None = None,
) -> StagedCostModel:
    """The cost model of that name (or of a recorded profile's file) for one instance of ``tp`` * ``pp`` accelerators.

    Only the roofline asks for ``link``, which joins the accelerators of the instance (default: the hardware's own), and
    for ``efficiency`` (default: that of its name).

    Raises:
        UserError: for an unknown name, and for a model, hardware or split that the cost model does not cover.
    """
    if name in ROOFLINES:
        return RooflineCost(shape, hardware, tp, pp, link, efficiency or ROOFLINES[name])
    if name in FITTED:
        if hardware.name != "a100-80gb":
            raise UserError(
                f"cost {name!r} was fitted on hardware 'a100-80gb', not on {hardware.name!r}; "
                "use that hardware or cost 'roofline'"
            )
        return FittedCost(name, shape.name, tp, pp)
    if name == "measured" or name.endswith(".json"):
        return _measured(name, shape, hardware, tp * pp)
    if name == "linear":
        return LinearCost()
    raise UserError(unknown_name("cost", name, COSTS, "or give the file of a recorded profile"))


def _measured(name: str, shape: ModelShape, hardware: Hardware, num_gpus: int) -> MeasuredCost:
    profile = profile_named(name)
    if hardware.name != profile.machine.name:
        raise UserError(
            f"cost {name!r} was measured on another machine than hardware {hardware.name!r}; "
            f"use hardware {profile.machine.name!r} (or the profile's file)"
        )
    if num_gpus > 1:
        raise UserError(f"cost {name!r} was measured on one device; use tp=1 and pp=1, or cost 'roofline'")
    if replace(shape, name=profile.model.name, bytes_per_value=profile.model.bytes_per_value) != profile.model:
        raise UserError(
            f"cost {name!r} was measured with the model {profile.model.name!r}, not {shape.name!r}; "
            "use that model, or record a profile of yours (python -m course profile --model ...)"
        )
    return fit(profile)
