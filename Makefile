PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Programs that tests open our files with, by Debian's names. Where they cannot be installed, those tests say that they are skipped.
PROGRAMS := chromium ffmpeg openimageio-tools
.PHONY: demo test test-programs check programs client clean

# The install is redone only when what it depends on changes.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/layerloom demo

check: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pyright --project tests --level error

programs:
	@if command -v chromium >/dev/null && command -v ffmpeg >/dev/null && command -v oiiotool >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing what tests need: $(PROGRAMS)"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PROGRAMS) >/dev/null; \
	else echo "Not installed, tests that need them are skipped: $(PROGRAMS)"; fi

test: $(VENV)/installed programs
	@echo "Checks (ruff, import contracts, pyright, the page's build), then all tests on all cores: about 8 minutes on two."
	$(MAKE) check client
	$(BIN)/pytest -n auto --dist loadfile --ignore tests/programs

# Blender, Krita, GIMP, OpenImageIO and FFmpeg open what is exported; .ci/programs installs them.
test-programs: $(VENV)/installed
	$(BIN)/pytest tests/programs

# The page of the editor: checked, tested, built again; the built files that are committed must be the same.
client:
	@if command -v npm >/dev/null; then \
	  cd client && npm ci --silent --no-audit --no-fund && npm test --silent && npm run --silent build && \
	  git diff --exit-code --stat -- ../src/layerloom/editor/static; \
	else echo "Not installed, the editor's page is not built again: npm"; fi

clean:
	rm -rf $(VENV) layerloom-demo
