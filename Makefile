# Everything runs from a bare clone with python3 (3.11 or later) and make.
#   make demo [PAPER=bert]   trains on real English text for about five minutes and shows what was learned;
#                            SEEDS=5 trains a student, and the same student alone, from five seeds
#   make few-shot            trains GPT-3 at three sizes and evaluates them with 0, 1, ... examples: half an hour
#   make test                the whole test suite
#   make test-fast           the unit tests of pure functions, configs and files: about a minute
#   make lint                ruff: errors, imports, format
#   make bench               our training step beside transformers on torch
PYTHON ?= python3
PAPER ?= bert
SEEDS ?= 1
RUN := .venv/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo few-shot test test-fast lint bench clean
.NOTPARALLEL:  # two pips in one .venv would get in each other's way

# Big temporaries in huge pages: fewer page faults in a training step on a CPU.
demo: .venv/demo
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(RUN) scripts/demo.py --config configs/$(PAPER).py:demo --workdir runs/demo-$(PAPER) --seeds $(SEEDS)

few-shot: .venv/demo
	for width in 64 128 256; do \
		GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(RUN) scripts/train.py --config configs/gpt3.py:few \
			--config.model.hidden_size=$$width --workdir runs/few-$$width || exit 1; \
	done
	$(RUN) scripts/evaluate.py --config configs/fewshot.py:demo --config.runs=runs/few-64,runs/few-128,runs/few-256 \
		--config.limit=150 --config.seeds=3 --config.too_long=leave_out --workdir runs/few-shot

test: .venv/test
	$(RUN) -m pytest --numprocesses 2 --dist worksteal

test-fast: .venv/test
	$(RUN) -m pytest --numprocesses 2 --dist loadfile --durations 0 --durations-min 5 -m 'not slow' tests/unit tests/golden

lint: .venv/lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: .venv/bench
	$(RUN) scripts/bench.py

# One stamp per extra: installed again only when the requirements change.
.venv/demo .venv/test .venv/lint .venv/bench: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; use make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(INSTALL) --editable '.[$(@F)]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info
