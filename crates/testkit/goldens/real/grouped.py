"""Real checkpoints as MLX stores them, with the logits that mlx gives on the CPU in float32.

    python real/grouped.py OUT NAME=MODEL,BITS,GROUP...

OUT is no part of the repository (real/grouped).
"""

import json
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import grouped  # noqa: E402
import mlx.core as mx  # noqa: E402
import mlx_lm.utils  # noqa: E402
import numpy as np  # noqa: E402


def whole(source, scratch):
    """The same model as one with a `text_config`, the only kind that mlx-lm knows of its family."""
    config = json.loads((source / "config.json").read_text())
    if not config["model_type"].endswith("_text"):
        return source
    for file in source.iterdir():
        (scratch / file.name).symlink_to(file)
    kind = config["model_type"].removesuffix("_text")
    config = {"model_type": kind, "text_config": config, "tie_word_embeddings": config["tie_word_embeddings"]}
    (scratch / "config.json").unlink()
    (scratch / "config.json").write_text(json.dumps(config))
    return scratch


def main():
    grouped.OUT = pathlib.Path(sys.argv[1])
    for argument in sys.argv[2:]:
        name, arguments = argument.split("=", 1)
        source, bits, group = arguments.split(",")
        folder = grouped.OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            source = whole(pathlib.Path(source), pathlib.Path(scratch))
            grouped.convert(str(source), str(folder), quantize=True, q_bits=int(bits), q_group_size=int(group))
        mx.set_default_device(mx.cpu)
        model, _ = mlx_lm.utils.load_model(folder)
        model.set_dtype(mx.float32)
        grouped.write_logits(name, lambda ids: np.array(model(mx.array([ids]))[0].astype(mx.float32)))
        print(name)


if __name__ == "__main__":
    main()
