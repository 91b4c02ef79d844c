"""The bundled model's goldens: conversations, their ids, and transformers' greedy answers.

In: the checkpoint's directory. Out: lattice_tiny.json (messages, rendered prompt, ids, greedy ids, gaps,
text) and lattice_tiny.safetensors (`chat_<i>.logits`: last row of the prompt, first four conversations).
bf16 weights are widened to float32, which is exact, and everything is computed in float32.
"""

import json

import numpy as np
from safetensors.numpy import save_file
from transformers import AutoTokenizer

import reference

TOKENS = 64
LOGITS_KEPT = 4
# A kernel that rounds activations to bf16 moves logits by some hundredths. Answers that hang on less would
# test luck, so the list below holds only conversations whose every choice is clearer than this.
LEAST_GAP = 0.05


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


# (messages, whether thinking is asked for)
CHATS = [
    ([user("Hello!")], False),
    ([system("You are a helpful assistant."), user("What is the capital of France?")], False),
    ([user("Hi, my name is Maya."), assistant("Hello, Maya! Nice to meet you."), user("What is my name?")], False),
    ([user("Continue this story: In a tall old tree, there lived a busy cat named Hazel.")], False),
    ([user("Who are you?")], False),
    ([user("What is 7 plus 5?")], True),
    ([user("What is the first month of the year?")], False),
    ([user("What color do you get when you mix red and blue?")], False),
    ([user("Ask me a riddle."), assistant("How do you make an octopus laugh?"), user("I give up.")], False),
    ([user("Finish the story.\n\nIn a small village by the sea, there lived a young owl named Dusty.")], False),
    ([system("You are a friendly helper."), user("Say something funny.")], False),
    (
        [
            user(
                "Daisy is 27 years old and lives in Helsinki. Daisy is a farmer.\n\n"
                'Answer in JSON with the keys "name" and "job".'
            )
        ],
        False,
    ),
    ([user("What is 23 plus 3?"), assistant("23 plus 3 is 26."), user("What is 12 plus 8?")], False),
    ([user("Name three pieces of furniture.")], False),
    ([user("Good morning!"), assistant("Good morning! How can I help you?"), user("Tell me a joke.")], False),
    ([user("Name the capital of Austria.")], True),
    (
        [
            system("You are a helpful assistant."),
            user("Hi!"),
            assistant("Hello! How can I help?"),
            user("What is the opposite of up?"),
            assistant("Down."),
            user("And of big?"),
        ],
        False,
    ),
    ([user("Cuéntame un cuento.")], False),
    ([user("こんにちは")], False),
    ([user("I have a question. Tell me a story about a girl named Ella.")], False),
]


def answer(model, tokenizer, messages, thinking, stop):
    """One conversation's golden and the last row of its prompt's logits."""
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
    )
    prompt = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    ids, gaps = reference.greedy(model, prompt, TOKENS, stop)
    golden = {
        "messages": messages,
        "enable_thinking": thinking,
        "rendered": rendered,
        "greedy": {"prompt": prompt, "ids": ids, "gaps": [round(gap, 5) for gap in gaps]},
        "text": tokenizer.decode(ids, skip_special_tokens=True),
    }
    return golden, reference.logits(model, prompt)[-1]


def make(checkpoint, out):
    """Writes both files into `out`, and prints each answer with its least gap."""
    model = reference.load(checkpoint, "Qwen3_5ForCausalLM")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    stop = json.loads((checkpoint / "generation_config.json").read_text())["eos_token_id"]
    goldens, rows = [], {}
    for i, (messages, thinking) in enumerate(CHATS):
        golden, row = answer(model, tokenizer, messages, thinking, stop)
        goldens.append(golden)
        least = min(golden["greedy"]["gaps"])
        print(f"{least:8.4f} {len(golden['greedy']['ids']):3} {golden['text']!r}")
        if least < LEAST_GAP:
            raise SystemExit(f"conversation {i}: a greedy choice is too close; choose another")
        if i < LOGITS_KEPT:
            rows[f"chat_{i}.logits"] = np.ascontiguousarray(row)
    lines = ",\n".join(json.dumps(golden, ensure_ascii=False) for golden in goldens)
    (out / "lattice_tiny.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    save_file(rows, out / "lattice_tiny.safetensors")
