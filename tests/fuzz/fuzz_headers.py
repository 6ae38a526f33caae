"""Coverage-guided fuzzing of all targets: `make fuzz`, for a minute; `ARGS="-max_total_time=600"` for ten.

Rule: this file only hands bytes over; what they must not do stands in `targets.py`, and what was once found in
`test_targets.py`. An input that fails is printed and kept where the first line says; the options are libFuzzer's.
"""

import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["server"]):
    from tests.fuzz.targets import TARGETS, attack
    from tests.fuzz.words import SEEDS, WORDS


def main() -> None:
    """Fuzz until libFuzzer has enough."""
    logging.disable()  # a line for every bad byte would be too much
    folder = Path(tempfile.mkdtemp(prefix="videodock-fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS))
    print(f"{len(TARGETS)} targets, {len(SEEDS)} seeds; what is found goes to {folder}", flush=True)
    options = [f"-dict={words}", f"-artifact_prefix={folder}/", "-max_len=4096", "-len_control=20"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus)], attack)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
