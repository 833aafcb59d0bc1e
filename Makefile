PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python

.PHONY: train test lint bench clean

train: $(VENV)/.ready ## the main job on the embedded digits
	$(PY) train.py --model mozafari2018 --dataset digits --epochs 4 8 150 --batch-size 300 --patience 150

test: $(VENV)/.ready lint ## every test
	$(PY) -m pytest -n 2

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

bench: $(VENV)/.ready ## peers beside us, medians, thread count
	$(PY) -m benchmarks.run

$(VENV)/.ready: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
