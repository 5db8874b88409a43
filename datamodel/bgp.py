"""What the cluster wants of BGP, besides its nodes: Calico's BGPConfiguration.

Pure: no I/O.
"""

from dataclasses import dataclass

from datamodel.errors import Invalid
from datamodel.node import DEFAULT_AS

AS_NUMBERS = range(1, 2**32)  # 0 is reserved (RFC 7607); BIRD refuses it
PORTS = range(1, 2**16)
BGP_PORT = 179


@dataclass(frozen=True, slots=True)
class BgpConfiguration:
    """Settings for all nodes; absent fields have Calico's defaults."""

    as_number: int = DEFAULT_AS  # of nodes that have none of their own
    is_mesh_enabled: bool = True  # every node has a session with every other
    listen_port: int = BGP_PORT

    def checked(self) -> "BgpConfiguration":
        """Return the configuration itself if it is right.

        Raises:
            Invalid: with every mistake.
        """
        found = []
        if self.as_number not in AS_NUMBERS:
            found.append(f"asNumber {self.as_number} is not in 1..{AS_NUMBERS[-1]}")
        if self.listen_port not in PORTS:
            found.append(f"listenPort {self.listen_port} is not in 1..{PORTS[-1]}")
        if found:
            raise Invalid(f"BGPConfiguration: {'; '.join(found)}")
        return self
