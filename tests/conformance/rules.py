"""The rules that the cases stand for: what the page docs/conformance.md lists, in its order.

A rule's level says who wants it: ``must`` and ``should`` are the CNI specification's (the section
is named), ``practice`` is what the CNI library, the reference plugins and runtimes do or rely on,
``ours`` is a promise that only Ocicat makes.
"""

from dataclasses import dataclass

import pytest

MUST, SHOULD, PRACTICE, OURS = "must", "should", "practice", "ours"

GROUPS = {
    "E": "Environment",
    "I": "Configuration on stdin",
    "V": "Versions",
    "R": "Results and errors",
    "A": "ADD",
    "D": "DEL",
    "C": "CHECK",
    "G": "GC",
    "T": "STATUS",
    "N": "Chains",
    "S": "Situations",
    "B": "Bad input",
}


@dataclass(frozen=True)
class Rule:
    """One rule, in one sentence."""

    level: str
    text: str
    section: str = ""  # of the CNI specification 1.1.0


RULES = {
    # ---- Environment ------------------------------------------------------------------------
    "E1": Rule(
        MUST, "a missing required variable is error 4, and the message names it", "2 Errors"
    ),
    "E2": Rule(PRACTICE, "all missing variables are named at once, in the specification's order"),
    "E3": Rule(MUST, "DEL is served without CNI_NETNS, unset or empty", "2 DEL"),
    "E4": Rule(
        MUST,
        "a container id begins with a letter or digit and goes on with those, `_`, `.` and `-`; "
        "another one is error 4",
        "2 Parameters",
    ),
    "E5": Rule(PRACTICE, "a right container id is served whatever its length and shape"),
    "E6": Rule(PRACTICE, "an interface name that the kernel or the library refuses is error 4"),
    "E7": Rule(OURS, "names that the kernel or sysctl would take for something else are error 4"),
    "E8": Rule(PRACTICE, "an unusual but right interface name is served"),
    "E9": Rule(PRACTICE, "CNI_ARGS is optional, may be empty, and has no order"),
    "E10": Rule(OURS, "CNI_ARGS is read leniently: empty pieces, several `=`, repeated keys"),
    "E11": Rule(OURS, "CNI_PATH is not needed where nothing is delegated"),
    "E12": Rule(PRACTICE, "a CNI_NETNS that is no network namespace is an error"),
    "E13": Rule(
        PRACTICE, "the plugin's own namespace as CNI_NETNS is an error, and stays as it is"
    ),
    "E14": Rule(PRACTICE, "whatever else is inherited does not matter: environment, umask, cwd"),
    "E15": Rule(PRACTICE, "without CNI_COMMAND it says on stderr what it is, and succeeds"),
    "E16": Rule(PRACTICE, "an unknown or misspelt CNI_COMMAND is error 4 and is named"),
    # ---- Configuration ----------------------------------------------------------------------
    "I1": Rule(MUST, "a configuration that is not a JSON object is error 6", "2 Errors"),
    "I2": Rule(MUST, "a stdin that cannot be read is error 5", "2 Errors"),
    "I3": Rule(MUST, "a missing or malformed network name is error 7", "2 Errors"),
    "I4": Rule(PRACTICE, "the network name is looked at before the version"),
    "I5": Rule(PRACTICE, "a cniVersion that is no string is error 6"),
    "I6": Rule(PRACTICE, "keys match in any case, and the last of equal ones counts"),
    "I7": Rule(PRACTICE, "keys that a plugin does not know are ignored", "1 Configuration format"),
    "I8": Rule(PRACTICE, "what runtimes send as runtimeConfig is taken, in either spelling"),
    "I9": Rule(OURS, "every mistake in the configuration is named at once, as error 7"),
    "I10": Rule(OURS, "what is asked for and not served is error 2 and names key and value"),
    # ---- Versions ---------------------------------------------------------------------------
    "V1": Rule(
        MUST, "VERSION prints cniVersion and supportedVersions, and nothing else", "5 Version"
    ),
    "V2": Rule(PRACTICE, "VERSION never reads stdin and needs no other variable"),
    "V3": Rule(OURS, "every version from 0.1.0 to 1.1.0 is spoken"),
    "V4": Rule(MUST, "a version that is not spoken is error 1", "2 Errors"),
    "V5": Rule(PRACTICE, "versions match exactly, and the details of error 1 list those spoken"),
    "V6": Rule(PRACTICE, "a configuration without cniVersion is one of 0.1.0"),
    "V7": Rule(MUST, "ADD, CHECK and DEL work in every version that is spoken", "2 CNI operations"),
    "V8": Rule(MUST, "CHECK below 0.4.0 is error 1", "2 CHECK"),
    "V9": Rule(PRACTICE, "GC and STATUS below 1.1.0 are error 1"),
    "V10": Rule(PRACTICE, "a version that is no number is error 6 in CHECK, GC and STATUS"),
    "V11": Rule(PRACTICE, "prevResult may be of another version of the same family only"),
    # ---- Results ----------------------------------------------------------------------------
    "R1": Rule(MUST, "a result has the form of the configuration's version", "5 ADD Success"),
    "R2": Rule(
        MUST,
        "the container's interface is listed with its name and CNI_NETNS as it was given",
        "5 ADD Success",
    ),
    "R3": Rule(MUST, "every address points at the container's interface", "5 ADD Success"),
    "R4": Rule(
        PRACTICE, "two interfaces: the host's without sandbox first, the container's second"
    ),
    "R5": Rule(MUST, "MACs in the result are the kernel's", "5 ADD Success"),
    "R6": Rule(PRACTICE, "addresses in the result are the container's, and only those"),
    "R7": Rule(SHOULD, "DNS settings of the configuration reach the result", "5 ADD Success"),
    "R8": Rule(MUST, "stdout holds one document and nothing else", "5 Result Types"),
    "R9": Rule(MUST, "an error has cniVersion, code and msg", "5 Error"),
    "R10": Rule(MUST, "DEL, CHECK, GC and STATUS that succeed print nothing", "2 CNI operations"),
    "R11": Rule(OURS, "the exact document of every kind of result and error"),
    # ---- ADD --------------------------------------------------------------------------------
    "A1": Rule(
        MUST, "ADD makes CNI_IFNAME in the container, with the addresses of its result", "2 ADD"
    ),
    "A2": Rule(MUST, "an interface of that name is an error, and stays as it is", "2 ADD"),
    "A3": Rule(PRACTICE, "a second ADD is an error, and takes nothing of the first one away"),
    "A4": Rule(
        SHOULD, "an ADD that fails leaves nothing", "4 Delegated plugin execution procedure"
    ),
    "A5": Rule(PRACTICE, "nothing else on the node changes"),
    "A6": Rule(
        PRACTICE, "the node answers the container's first packet, and the container the node's"
    ),
    "A7": Rule(PRACTICE, "the MTU of the configuration is the interface's"),
    "A8": Rule(PRACTICE, "a MAC asked for by capability, args.cni or CNI_ARGS is the interface's"),
    "A9": Rule(PRACTICE, "an address asked for by capability, args.cni or CNI_ARGS is given"),
    "A10": Rule(PRACTICE, "an address that is taken or in no range is an error"),
    "A11": Rule(PRACTICE, "a container may have several interfaces, each for itself"),
    "A12": Rule(PRACTICE, "IPv6 beside IPv4 works, and is usable when ADD returns"),
    "A13": Rule(PRACTICE, "the host's route, link and forwarding are there when ADD returns"),
    "A14": Rule(PRACTICE, "sysctls that are right already are not written"),
    "A15": Rule(OURS, "the container may be allowed to forward"),
    "A16": Rule(PRACTICE, "ADDs at the same time all succeed, each with an address of its own"),
    # ---- DEL --------------------------------------------------------------------------------
    "D1": Rule(MUST, "DEL takes everything away that ADD made", "2 DEL"),
    "D2": Rule(MUST, "DEL succeeds any number of times, and for what never was", "2 DEL"),
    "D3": Rule(SHOULD, "DEL succeeds without the namespace, and still cleans the host", "2 DEL"),
    "D4": Rule(PRACTICE, "DEL succeeds if CNI_NETNS is something else by now"),
    "D5": Rule(SHOULD, "DEL succeeds without prevResult, and with one that is of no use", "2 DEL"),
    "D6": Rule(MUST, "DEL is for one container id and interface; others stay", "2 DEL"),
    "D7": Rule(OURS, "DEL succeeds with a configuration that changed since, or is wrong by now"),
    "D8": Rule(OURS, "DEL succeeds with CNI_ARGS of any form"),
    # ---- CHECK ------------------------------------------------------------------------------
    "C1": Rule(MUST, "CHECK succeeds right after ADD, and any number of times", "2 CHECK"),
    "C2": Rule(MUST, "CHECK without prevResult is an error", "2 CHECK"),
    "C3": Rule(SHOULD, "what ADD made and somebody took away or changed is an error", "2 CHECK"),
    "C4": Rule(OURS, "what is wrong on the host's side is an error, too"),
    "C5": Rule(MUST, "what later plugins added is no error", "2 CHECK"),
    "C6": Rule(PRACTICE, "what later plugins changed and say in prevResult is no error"),
    "C7": Rule(PRACTICE, "CHECK changes nothing, whatever it finds"),
    "C8": Rule(SHOULD, "a container that was never added is an error", "2 CHECK"),
    "C9": Rule(OURS, "every difference is named"),
    # ---- GC ---------------------------------------------------------------------------------
    "G1": Rule(MUST, "GC removes attachments that are not listed, and only those", "2 GC"),
    "G2": Rule(PRACTICE, "null and an empty list mean that nothing is valid"),
    "G3": Rule(
        OURS, "a GC without the list, or with a malformed one, is error 7 and removes nothing"
    ),
    "G4": Rule(PRACTICE, "the list's older name serves as well, the newer one counts"),
    "G5": Rule(MUST, "attachments of other networks stay", "2 GC"),
    "G6": Rule(MUST, "GC needs no container", "2 GC"),
    "G7": Rule(PRACTICE, "GC may be repeated, and may come when the namespaces are gone"),
    # ---- STATUS -----------------------------------------------------------------------------
    "T1": Rule(
        MUST,
        "STATUS succeeds silently when an ADD could be served, and needs no container",
        "2 STATUS",
    ),
    "T2": Rule(MUST, "STATUS is error 50 or 51 when it could not", "2 STATUS"),
    "T3": Rule(PRACTICE, "STATUS answers soon, whatever hangs"),
    "T4": Rule(MUST, "ADD does not rely on STATUS", "2 STATUS"),
    # ---- Chains -----------------------------------------------------------------------------
    "N1": Rule(
        MUST, "a plugin that is not the first passes prevResult on, with its own added", "2 ADD"
    ),
    "N2": Rule(PRACTICE, "portmap, bandwidth, tuning, sbr and firewall work behind it"),
    "N3": Rule(
        PRACTICE, "CHECK of the whole chain succeeds, DEL of the whole chain leaves nothing"
    ),
    "N4": Rule(
        SHOULD, "CHECK and DEL find their own in a prevResult of several plugins", "2 CHECK"
    ),
    # ---- Situations -------------------------------------------------------------------------
    "S1": Rule(PRACTICE, "an old sandbox's late DEL does not touch the new one, nor its address"),
    "S2": Rule(PRACTICE, "a CNI_NETNS that is another container's by now: that one is not touched"),
    "S3": Rule(PRACTICE, "a CNI_NETNS that is the node's own by now: the node is not touched"),
    "S4": Rule(PRACTICE, "an ADD that is killed, then DEL: nothing is left"),
    "S5": Rule(OURS, "an ADD whose runtime is gone is taken back"),
    "S6": Rule(OURS, "an attachment whose runtime never says DEL is cleaned up"),
    "S7": Rule(PRACTICE, "after a reboot DELs of old sandboxes come between new ADDs"),
    "S8": Rule(OURS, "DEL succeeds and is fast while daemons are down, and is made good later"),
    "S9": Rule(PRACTICE, "many ADDs at once, then many DELs"),
    "S10": Rule(PRACTICE, "no namespace is kept open: it goes when the runtime removes it"),
    "S11": Rule(PRACTICE, "IPv6 switched off, or the loopback down, in the container"),
    "S12": Rule(PRACTICE, "a container whose namespace belongs to another user namespace"),
    "S13": Rule(
        PRACTICE, "two runtimes share a network: the same interface name, other containers"
    ),
    "S14": Rule(OURS, "the executable is replaced and the server restarted under calls"),
    "S15": Rule(PRACTICE, "a configuration that is edited between ADD and DEL"),
    # ---- Bad input --------------------------------------------------------------------------
    "B1": Rule(
        PRACTICE, "huge and deep configurations, NUL bytes: an answer, and the node as before"
    ),
    "B2": Rule(PRACTICE, "container ids that begin alike get links of their own"),
    "B3": Rule(OURS, "a foreign link under our name is an error, and stays as it is"),
    "B4": Rule(PRACTICE, "a file system that is full: an answer, and nothing left afterwards"),
    "B5": Rule(PRACTICE, "without CAP_NET_ADMIN: an error, and the node as before"),
    "B6": Rule(PRACTICE, "with 16 descriptors: served, or an error and the node as before"),
    "B7": Rule(PRACTICE, "no address left: an error, and nothing of it stays"),
}


def rule(*ids: str) -> pytest.MarkDecorator:
    """Mark a case with the rules that it stands for."""
    assert RULES.keys() >= set(ids), ids
    return pytest.mark.rule(*ids)
