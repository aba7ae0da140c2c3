# Everything runs from a bare clone with python3 (3.11 or later) and make.
#   make demo [PAPER=bert]   trains on real English text for about five minutes and shows what was learned
#   make test                the whole test suite
#   make bench               our training step beside transformers on torch
PYTHON ?= python3
PAPER ?= bert
RUN := .venv/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test bench clean

# Big temporaries in huge pages: fewer page faults in a training step on a CPU.
demo: .venv/demo
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(RUN) scripts/demo.py --config configs/$(PAPER).py:demo --workdir runs/demo-$(PAPER)

test: .venv/test
	$(RUN) -m pytest --numprocesses 2 --dist worksteal

bench: .venv/test
	$(RUN) scripts/bench.py

# One stamp per extra: installed again only when the requirements change.
.venv/demo .venv/test: setup.cfg pyproject.toml constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(INSTALL) --editable .[$(@F)]
	touch $@

clean:
	rm -rf .venv build *.egg-info
