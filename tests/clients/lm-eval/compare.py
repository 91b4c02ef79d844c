"""The log-likelihoods of one task, by lm-eval through a server and by lm-eval with transformers."""
import os
import sys

import lm_eval
from lm_eval.tasks import TaskManager

TASK, LIMIT = "lattice_stories", 1e-3
model = sys.argv[1]
tasks = TaskManager(include_path=".", include_defaults=False)
url = os.environ["LATTICE_URL"] + "/v1/completions"
ours = {"model": "lattice-tiny", "base_url": url, "tokenizer": model, "tokenizer_backend": "huggingface", "num_concurrent": 2,
        "max_length": 2048}  # fmt: skip
theirs = {"pretrained": model, "dtype": "float32", "device": "cpu"}


def evaluated(kind, arguments):
    """For each question, the log-likelihood of each choice and whether it is what the model would have said; the score."""
    result = lm_eval.simple_evaluate(
        model=kind, model_args=arguments, tasks=[TASK], task_manager=tasks, bootstrap_iters=0, batch_size=1
    )
    samples = sorted(result["samples"][TASK], key=lambda sample: sample["doc_id"])
    answers = [[tuple(choice) for choice in sample["filtered_resps"]] for sample in samples]
    return answers, result["results"][TASK]["acc,none"]


served, served_score = evaluated("local-completions", ours)
known, known_score = evaluated("hf", theirs)
pairs = [pair for question in zip(served, known, strict=True) for pair in zip(*question, strict=True)]
worst = max(abs(float(ours[0]) - float(theirs[0])) for ours, theirs in pairs)
same_words = all(str(ours[1]) == str(theirs[1]) for ours, theirs in pairs)
print(f"{len(pairs)} log-likelihoods, the furthest {worst:.1e} apart; accuracy {served_score:.3f} and {known_score:.3f}")
if worst > LIMIT or not same_words or served_score != known_score:
    sys.exit(f"allowed is {LIMIT}; the same greedy words: {same_words}")
