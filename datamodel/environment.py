"""The names of our own environment variables; Calico's keep their names and are not listed.

Pure: no I/O. All daemons may share one environment file, so all of them know every name; a name
that begins with OCICAT_ and is not here is a mistake.
"""

from collections.abc import Mapping

OURS = {
    "OCICAT_IPAM_SOCKET": "Unix socket of ipamd",
    "OCICAT_CNI_SOCKET": "Unix socket of the CNI server",
    "OCICAT_SPOOL_DIR": "directory of releases that could not be delivered yet",
    "OCICAT_ADD_TIMEOUT_S": "seconds an ADD may wait for ipamd",
    "OCICAT_BIRD_CONFIG": "file that the route distributor writes for BIRD",
    "OCICAT_BIRD_SOCKET": "BIRD's control socket",
    "OCICAT_LOG_LEVEL": "debug, info, warning or error",
}


def unknown_names(environment: Mapping[str, str]) -> list[str]:
    """Say of every OCICAT_ variable that does not exist that it does not."""
    return [
        f"{name} is not a setting; there are {', '.join(OURS)}"
        for name in sorted(environment)
        if name.startswith("OCICAT_") and name not in OURS
    ]
