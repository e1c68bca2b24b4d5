"""How long it takes to move keys and values between instances on the virtual clock.

``fabric``     where instances stand, which ports a transfer passes
``sharing``    max-min fair rates of the transfers under way
``layerwise``  sending while the prefill still computes (Splitwise)
``faults``     transfers that are refused or break, drawn by a seed
``network``    Network: transfers start, share links, end
"""

from course.simulator.network.fabric import Fabric, Place
from course.simulator.network.faults import Faults, Outcome
from course.simulator.network.layerwise import LayerWise
from course.simulator.network.network import Ended, Network, PortUse

__all__ = ["Ended", "Fabric", "Faults", "LayerWise", "Network", "Outcome", "Place", "PortUse"]
