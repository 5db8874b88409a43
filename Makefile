# The commands of this project. `make demo` and `make test` need nothing before them.
PY := .venv/bin/python
CTL := .venv/bin/ocicatctl
# The part of the conformance suite that test-image runs: what each command does in good order.
SMOKE := $(patsubst %,tests/conformance/test_%.py,versions add check del gc status chaining)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Those of a shell, by name or first line. SC2187: that busybox's is taken for dash.
SCRIPTS = $(shell { find deploy tests -name '*.sh'; \
  grep -rlIE --exclude='*.py' '^\#!.*[ /](ba)?sh$$' .ci deploy tests tools; } | sort -u)

.PHONY: help setup demo test test-vm lab-vm lab-vm-shell test-systemd image test-image check bench-cni bench-ipam bench-routes proto golden topology lock map

help:  ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup:
	@tools/setup

demo: setup  ## a three-node pod network on real etcd and BIRD, shown and taken down again
	@$(SUDO) $(CTL) lab demo

test: setup check  ## every test (a few minutes; needs root for network namespaces)
	@$(SUDO) tools/test

test-vm: setup  ## virtual machines with systemd and containerd: routes, reboots, upgrades (half an hour, no KVM)
	@$(SUDO) tools/setup-vm
	@$(SUDO) $(PY) -m pytest -s tests/vm

lab-vm: setup  ## the same machines to play with, until Ctrl-C
	@$(SUDO) tools/setup-vm
	@$(SUDO) $(PY) -m tests.vm

lab-vm-shell:  ## a shell in one of them, from another terminal: VM=n1
	@$(SUDO) $(PY) -m tests.vm.console $(or $(VM),n1)

test-systemd: setup  ## a node's life under systemd: install, upgrade under load, uninstall (a minute; root)
	@$(SUDO) $(PY) -m pytest tests/systemd

image: setup  ## the container image, on a base of Debian packages (minutes at first; root)
	@$(SUDO) tools/image

test-image: image  ## every command from that image: pods, installing, privileges, figures (minutes)
	@$(SUDO) $(PY) -m pytest -s tests/image
	@$(SUDO) $(PY) -m pytest -q --image $(SMOKE)

check: setup  ## format, lint and types (seconds, no root)
	@for script in $(SCRIPTS); do bash -n $$script || exit; done
	@shellcheck -x -P SCRIPTDIR -e SC2187 $(SCRIPTS)
	@.venv/bin/ruff format --check -q .
	@.venv/bin/ruff check -q .
	@.venv/bin/mypy

bench-cni: setup  ## our ADD/DEL against Debian's ptp + host-local, in one run
	@$(SUDO) $(PY) -m bench $(ARGS)

bench-routes: setup  ## the route distributor as one node of 1,000, and ten nodes (3 minutes)
	@$(SUDO) $(PY) -m bench.routes $(ARGS)

bench-ipam: setup  ## ipamd beside bare etcd transactions, and in a large store (4 minutes, no root)
	@$(PY) -m bench.ipam $(ARGS)

proto: setup  ## regenerate the gRPC code from proto/
	@$(PY) tools/proto.py

golden: setup  ## rewrite the expected BIRD files (review the diff like code)
	@OCICAT_REWRITE_GOLDEN=1 $(PY) -m pytest -q tests/golden

topology: setup  ## draw docs/topology.svg anew from a live lab (look at it)
	@$(SUDO) $(PY) -m tools.topology

lock: setup  ## renew requirements.lock from pyproject.toml
	@tools/lock

map: setup  ## every module with its first docstring line
	@$(PY) tools/map.py
