# One command for each thing; `make` lists them. Hooks and pipelines call these same commands.

PYTHON ?= python3
VENV := $(or $(LEADGLASS_VENV),.venv)
RUN := $(VENV)/bin/python
# -I: neither the environment's PYTHONPATH nor this folder's files can stand in for a standard module.
BOOTSTRAP := $(PYTHON) -I provisioning/bootstrap.py

# A shell that has another project's environment active must not leak into ours, nor a container's setting by which every
# program that a test starts would compile all of it anew.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE
export PYTHONNOUSERSITE := 1

# What the virtual-machine lab is made with (tests/lab/README.md).
LAB := cryptsetup-bin,dosfstools,e2fsprogs,mmdebstrap,qemu-system-x86,swtpm

.DEFAULT_GOAL := help
.PHONY: help demo test lab lint fix type bench fuzz vectors soak lock check clean dev deb

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo:  ## the whole system on this machine (DATA=DIR keeps what it made there, KEEP=1 leaves it running)
	@$(BOOTSTRAP) demo --with mosquitto
	@$(RUN) -m provisioning.demo $(if $(DATA),--data "$(DATA)") $(if $(KEEP),--keep)

# What systemd-creds needs to speak to a TPM, here one of software.
TPM := libtss2-esys-3.0.2-0,libtss2-rc0,swtpm

# What makes the storage media that the guard is tried with.
MEDIA_MAKERS := btrfs-progs,cryptsetup-bin,dosfstools,e2fsprogs,exfatprogs,fdisk,genisoimage,ntfs-3g,udftools,xfsprogs

# What the pages of signing in are tried with.
BROWSER := chromium,chromium-driver

TESTED_WITH := mosquitto,rabbitmq-server,dcmtk,faketime,age,orthanc,postgresql,shellcheck,softhsm2,golang-go,golang-golang-x-mod-dev,libnss3-tools,nwipe,poppler-utils,$(BROWSER),nvme-cli,systemd,udev,umockdev,usbguard,$(TPM),$(MEDIA_MAKERS),$(LAB)

test:  ## run the tests (T=path for one)
	@$(BOOTSTRAP) dev --with $(TESTED_WITH)
	@$(RUN) -m $(if $(T),pytest -q $(T),tests)

lab:  ## real USB devices in a virtual machine: make its guest, then run its scenarios (T=path for one)
	@$(BOOTSTRAP) dev --with $(LAB)
	@$(RUN) -m tests.lab
	@$(RUN) -m pytest -q $(or $(T),tests/lab)

deb: dev  ## the Debian package of a modality host, in dist/
	@$(RUN) -m provisioning.packaging

lint: dev  ## style, formatting and who may import whom
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports --no-logo

fix: dev  ## put right what ruff can put right by itself
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

type: dev  ## mypy, strict
	@$(RUN) -m mypy

bench:  ## measure speed, each number beside its peer's (B=name for one)
	@$(BOOTSTRAP) dev --with age,curl,dcmtk,fuse3,g++,gocryptfs,libusbguard-dev,mosquitto,nginx-light,nwipe,orthanc,rclone,restic,$(LAB)
	@$(RUN) -m benchmarks $(B)

fuzz: dev  ## let atheris look for input that breaks a parser (T=target, S=seconds for each)
	@$(RUN) -m pip install --quiet atheris
	@$(RUN) -m tests.fuzz $(or $(T),all) $(or $(S),60)

vectors: dev  ## make the test vectors again
	@$(RUN) -m tests.vectors.generate

soak:  ## the tests that take minutes on purpose
	@$(BOOTSTRAP) dev --with $(TESTED_WITH)
	@$(RUN) -m pytest -q -m soak $(T)

# dev is locked first and the others within it, so that one environment can serve them all.
lock: dev  ## pin and hash every dependency again (requirements/*.txt)
	@set -e; for extra in dev demo server agent provision verify; do \
	  case $$extra in dev) within= ;; *) within="--constraint requirements/dev.txt" ;; esac; \
	  $(VENV)/bin/uv pip compile pyproject.toml --extra $$extra --group build $$within \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	    --quiet $(if $(UPGRADE),--upgrade) --output-file requirements/$$extra.txt; \
	done; \
	$(VENV)/bin/uv pip compile requirements/foreign.in --no-deps --python-version 3.12 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) \
	  --output-file requirements/foreign.txt

check: lint type test  ## everything a change has to pass

clean:  ## remove what was made here
	rm -rf .venv .venv.lock build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

dev:
	@$(BOOTSTRAP) dev
