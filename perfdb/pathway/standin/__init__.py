"""Stand-ins for the outside services of the pathway: OpenAI, SerpAPI and a shop's pictures.

They run on loopback, cost nothing, and can be slow or broken on purpose. The
pathway talks to them with the same SDKs as to the real services.
"""

from __future__ import annotations

from perfdb.pathway.standin.faults import Fault, Faults
from perfdb.pathway.standin.latency import LatencyModel
from perfdb.pathway.standin.served import Served
from perfdb.pathway.standin.server import StandIn

__all__ = ["Fault", "Faults", "LatencyModel", "Served", "StandIn"]
