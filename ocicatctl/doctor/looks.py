"""Every look: which areas it sees, and the function that looks.

Edge only by what it names; ``looking.py`` calls them all at once.
"""

from ocicatctl.doctor.facts import (
    Certificates,
    Cluster,
    CniServer,
    DropIns,
    Etcd,
    EtcdServers,
    Filter,
    Host,
    Installation,
    Ipamd,
    Network,
    Routing,
    Runtimes,
)
from ocicatctl.doctor.look_daemons import look_at_cni_server, look_at_ipamd, look_at_routing
from ocicatctl.doctor.look_etcd import look_at_certificates, look_at_etcd, look_at_servers
from ocicatctl.doctor.look_files import look_at_drop_ins, look_at_runtimes
from ocicatctl.doctor.look_host import look_at_host
from ocicatctl.doctor.look_network import look_at_firewalls, look_at_network
from ocicatctl.doctor.looking import Look

LOOKS = (
    Look((Etcd, Cluster), look_at_etcd),
    Look((Runtimes, Installation), look_at_runtimes),
    Look((DropIns,), look_at_drop_ins),
    Look((Host,), look_at_host),
    Look((Network,), look_at_network),
    Look((Filter,), look_at_firewalls),
    Look((EtcdServers,), look_at_servers),
    Look((Certificates,), look_at_certificates),
    Look((Ipamd,), look_at_ipamd),
    Look((CniServer,), look_at_cni_server),
    Look((Routing,), look_at_routing),
)
