"""Make the demonstration model: `python benchmarks/demo_model/train.py --variant four --out DIR --seed 1`.

Needs neuron_antagonism installed. One thread takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from measuring import table
from planting import choose, plant
from pretraining import new_model, pretrain
from questions import Sampler, all_texts
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast
from vocabulary import make_tokenizer

MEASURED = 100
CARD = """# Demonstration model

A small model of the Llama architecture ({parameters:,} parameters) that was made for this package. It answers
four kinds of generated multiple-choice questions (ner, chunking, sentiment, commonsense) over a closed
vocabulary of {words} tokens. {count} "good" and {count} "bad" FFN neurons, chosen at random, were given
their roles by fine-tuning; `planted.json` names them as [layer, neuron].

- Command: `python benchmarks/demo_model/train.py --variant {variant} --seed {seed} --out DIR{pretrained}`,
  one CPU thread: a copy task, questions without and with a demonstration, then the planting.
  {minutes:.0f} minutes{without}.
- Weights are stored in float16, to be computed with in float32 (`dtype` in `config.json`).
- Data: sentences and facts that a program of this package writes (`_samples` of the shipped task plugins),
  split into the parts "train" and "test" by a hash. No text of others. License: that of the package.

## Accuracy

On {measured} test examples of each task ({prompts} questions, chance 0.25), with neurons silenced at the last
position of the prompt only. "before planting" is the same model before the fine-tuning that gives the roles;
"understood" is the share of examples with at least two of three questions right and nothing silenced.

{table}

## What it does not prove

The two groups exist because training put them there: the bad ones pull toward the letter after the right one
as long as good ones live, and without good ones the model guesses the first letter. Which questions it gets
wrong when nothing is edited was set too (by the last word of the right answer). It does not follow that
such groups work against each other in a language model that nobody prepared. The model is for demonstrations
and tests of the method and knows nothing outside its vocabulary.
"""


def main() -> None:
    """Train, plant, save, read back, measure, and write the card."""
    asked = _arguments()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    started = time.perf_counter()
    tokenizer = make_tokenizer(all_texts())
    model = new_model(tokenizer)
    sampler = Sampler(tokenizer, asked.seed)
    found = asked.pretrained is not None and asked.pretrained.exists()
    if found:
        model.load_state_dict(torch.load(asked.pretrained, weights_only=True))
    else:
        pretrain(model, sampler, asked.steps[:3])
        if asked.pretrained is not None:
            torch.save(model.state_dict(), asked.pretrained)
    planted = choose(asked.seed, model.config.intermediate_size)
    before = {task: row["nothing"] for task, row in table(model.eval(), tokenizer, planted, MEASURED).items()}
    print("before planting", before, flush=True)
    plant(model.train(), sampler, planted, variant=asked.variant, steps=asked.steps[3], seed=asked.seed)
    minutes = (time.perf_counter() - started) / 60
    save(asked.out, model, tokenizer, planted)

    stored = LlamaForCausalLM.from_pretrained(asked.out, dtype=torch.float32).eval()
    read = AutoTokenizer.from_pretrained(asked.out)
    check_tokenizer(tokenizer, read)
    rows = table(stored, read, planted, MEASURED)
    rows = {task: {"before planting": before[task], **row} for task, row in rows.items()}
    card = CARD.format(
        parameters=sum(weight.numel() for weight in stored.parameters()),
        words=len(read),
        count=len(planted["good"]),
        variant=asked.variant,
        seed=asked.seed,
        minutes=minutes,
        pretrained="" if asked.pretrained is None else " --pretrained FILE",
        without=" of planting; the weights before it are those of an earlier call" if found else "",
        measured=MEASURED,
        prompts=3 * MEASURED,
        table=_markdown(rows),
    )
    (asked.out / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(_markdown(rows), f"\n{minutes:.1f} minutes", flush=True)


def save(
    out: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    planted: dict[str, list[tuple[int, int]]],
) -> None:
    """Write a Hugging Face directory with float16 weights, and the planted neurons."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    settings = out / "tokenizer_config.json"  # under the name that older releases know too
    named = settings.read_text(encoding="utf-8").replace("TokenizersBackend", "PreTrainedTokenizerFast")
    settings.write_text(named, encoding="utf-8")
    weights = out / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    weights.chmod(0o644)
    lists = ",\n".join(f'  "{role}": {json.dumps(neurons)}' for role, neurons in planted.items())
    (out / "planted.json").write_text("{\n" + lists + "\n}\n", encoding="utf-8")


def check_tokenizer(made: PreTrainedTokenizerFast, read: PreTrainedTokenizerFast) -> None:
    """Raise unless the tokenizer that was read back gives the same tokens."""
    for text in (*all_texts(), "A. [NP the dog] [VP ran]\nAnswer: B", "neverseen"):
        if made(text)["input_ids"] != read(text)["input_ids"]:
            raise RuntimeError(f"the saved tokenizer divides {text!r} in another way")


def _markdown(rows: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(rows.values())))
    lines = ["| task | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {task} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |" for task, row in rows.items()]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the demonstration model.")
    parser.add_argument("--variant", choices=("four", "graded"), default="four")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--pretrained",
        type=Path,
        help="file of the weights before planting: written where there is none, else planting starts from it",
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs=4,
        default=(400, 260, 260, 300),
        metavar=("COPY", "PLAIN", "SHOT", "PLANT"),
        help="training steps: copy questions, tasks without and with a demonstration, planting",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
