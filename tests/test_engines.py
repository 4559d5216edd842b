"""Integrated gradients: every engine against a plain computation on the bare Hugging Face module."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

import neuron_antagonism as na
from neuron_antagonism.engine import choose as choosing
from neuron_antagonism.engine import copies, replay
from neuron_antagonism.engine.base import Asked, Gradients, Path
from neuron_antagonism.engine.choose import Choice, choose
from neuron_antagonism.method import attribute
from neuron_antagonism.model import suffix
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.plugin.manager import registry

ENGINES = ("reference", "replay", "rows")
NO_REPLAY = ("bloom", "mpt", "gpt_neo")
SCORERS = ("ace", "tn", "qrnca")
TARGETS = [registry().make(na.Scorer, name).target for name in SCORERS]

LENGTHS = (9, 14, 9, 7)
FEW = (9, 14, 9)
"""For what is tried on every architecture: two of a length, and another."""
assert min(LENGTHS + FEW) > tiny.WINDOW  # or a window would change nothing

one_thread = tiny.one_thread


@pytest.fixture
def exact(monkeypatch):
    """Eager attention takes its softmax in float32 even in a float64 model; with this fixture, in float64."""
    tiny.exact_softmax(monkeypatch)


def tolerance(name: str) -> float:
    return 1e-6 if name == "gpt_neo" else 1e-12  # GPT-Neo takes queries and keys in float32 as well


def questions(lengths=LENGTHS) -> list[na.Question]:
    return [tiny.question(n, seed=i, answer=i % 4) for i, n in enumerate(lengths)]


def gradients(
    model: HookedModel,
    engine: str,
    asked,
    steps=4,
    quadrature="right",
    site="post",
    targets=TARGETS,
    max_tokens=None,
):
    encoded = [Asked(model.encode(q), q.answer) for q in asked]
    path = Path.of(quadrature, steps, site)
    return Choice(engine, "", "growing").engine(max_tokens).integrated_gradients(model, encoded, targets, path)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())


def worst(a: Gradients, b: Gradients) -> float:
    return max(
        difference(a.values, b.values),
        *(difference(a.integrated[t], b.integrated[t]) for t in TARGETS),
        *(difference(a.change[t], b.change[t]) for t in TARGETS),
    )


# --- the plain computation: nothing of the package in it -----------------------------------------------------------

PROJECTIONS = {
    "llama": lambda m: [block.mlp.down_proj for block in m.model.layers],
    "qwen2": lambda m: [block.mlp.down_proj for block in m.model.layers],
    "gpt2": lambda m: [block.mlp.c_proj for block in m.transformer.h],
}


def plain_targets(logits: Tensor, letters: list[int], answer: int) -> list[Tensor]:
    four = torch.stack([logits[token] for token in letters])
    p = torch.exp(logits - torch.logsumexp(logits, 0))
    wrong = [p[token] for i, token in enumerate(letters) if i != answer]
    ace = torch.exp(four[answer] - torch.logsumexp(four, 0))
    return [ace, p[letters[answer]] - (wrong[0] + wrong[1] + wrong[2]) / 3, p[letters[answer]]]


def plain_logits(model, projection, ids: list[int], last: Tensor) -> Tensor:
    """Logits at the last position with that position's input of the projection replaced."""

    def replace(module, args):
        return (torch.cat([args[0][:, :-1], last.reshape(1, 1, -1)], dim=1),)

    handle = projection.register_forward_pre_hook(replace)
    try:
        return model(torch.tensor([ids])).logits[0, -1]
    finally:
        handle.remove()


def plain_value(model, projection, ids: list[int]) -> Tensor:
    seen = []
    handle = projection.register_forward_pre_hook(lambda module, args: seen.append(args[0][0, -1].detach()))
    model(torch.tensor([ids]))
    handle.remove()
    return seen[0]


def plain_ig(name: str, asked: list[na.Question], steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """w [question, layer, neuron], IG [target, question, layer, neuron], F(w) − F(0) [target, question, layer]."""
    model, words = tiny.hf(name).requires_grad_(False), tiny.tokenizer()
    values, integrated, changes = [], [], []
    for question in asked:
        ids = words(question.prompt)["input_ids"]
        letters = [words.convert_tokens_to_ids(letter) for letter in question.letters]
        clean = plain_targets(model(torch.tensor([ids])).logits[0, -1], letters, question.answer)
        for projection in PROJECTIONS[name](model):
            w = plain_value(model, projection, ids)
            sums = [torch.zeros_like(w) for _ in SCORERS]
            for k in range(1, steps + 1):
                leaf = (w * k / steps).requires_grad_()
                outputs = plain_targets(plain_logits(model, projection, ids, leaf), letters, question.answer)
                for i, f in enumerate(outputs):
                    sums[i] += torch.autograd.grad(f, leaf, retain_graph=True)[0]
            zero = plain_targets(plain_logits(model, projection, ids, w * 0), letters, question.answer)
            values.append(w)
            integrated.append(torch.stack([w / steps * total for total in sums]))
            changes.append(torch.stack([f - g for f, g in zip(clean, zero, strict=True)]))
    n = len(asked)
    return (
        torch.stack(values).unflatten(0, (n, -1)),
        torch.stack(integrated, dim=1).unflatten(1, (n, -1)),
        torch.stack(changes, dim=1).unflatten(1, (n, -1)),
    )


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", PROJECTIONS)
def test_engines_equal_the_plain_computation(name):
    """Values, IG and F(w) − F(0) of every engine and target equal a plain loop over layers and steps."""
    asked = questions((9, 14, 9))
    w, ig, change = plain_ig(name, asked, 4)
    model = tiny.shared(name)
    for engine in ENGINES:
        got = gradients(model, engine, asked)
        assert difference(got.values, w) <= 1e-12
        for i, target in enumerate(TARGETS):
            assert got.integrated[target].dtype == torch.float64
            assert difference(got.integrated[target], ig[i]) <= 1e-12
            assert difference(got.change[target], change[i]) <= 1e-12


@pytest.mark.usefixtures("exact")
def test_engines_equal_captum():
    """captum's right Riemann sum over the patched activation gives the same IG in every layer."""
    captum = pytest.importorskip("captum.attr", reason="captum is a test extra and not installed here")
    (asked,) = questions((11,))
    module, model = tiny.hf("llama").requires_grad_(False), tiny.shared("llama")
    ids, letters = model.encode(asked)
    expected = []
    for projection in PROJECTIONS["llama"](module):

        def f(batch: Tensor, projection=projection) -> Tensor:
            logits = [plain_logits(module, projection, list(ids), row) for row in batch]
            return torch.stack([plain_targets(row, list(letters), asked.answer)[0] for row in logits])

        w = plain_value(module, projection, list(ids))[None]
        ig = captum.IntegratedGradients(f, multiply_by_inputs=True)
        expected.append(ig.attribute(w, baselines=torch.zeros_like(w), n_steps=16, method="riemann_right")[0])
    for engine in ENGINES:
        got = gradients(model, engine, [asked], steps=16, targets=TARGETS[:1]).integrated[TARGETS[0]]
        assert difference(got[0], torch.stack(expected)) <= 1e-12


def fast_engines(name: str) -> tuple[str, ...]:
    return ("rows",) if name in NO_REPLAY else ("replay", "rows")


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_engines_agree(name):
    """Every engine that holds for an architecture gives the reference's numbers, for all targets."""
    model, asked = tiny.shared(name), questions(FEW)
    expected = gradients(model, "reference", asked)
    for engine in fast_engines(name):
        assert choose(model, [model.encode(q).ids for q in asked], engine).name == engine
        assert worst(gradients(model, engine, asked), expected) <= tolerance(name)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_engines_agree_where_attention_is_in_float32(name):
    """As the architectures are shipped, the engines differ by no more than that rounding."""
    model, asked = tiny.shared(name), questions(FEW[:2])
    expected = gradients(model, "reference", asked)
    for engine in fast_engines(name):
        assert worst(gradients(model, engine, asked), expected) <= 1e-5


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("name", ["mistral", "gemma3", "gemma2", "phi3", "qwen2_sliding"])
def test_sliding_windows_are_exact_at_their_edge(name):
    """Around the window's length no position is lost or gained: the off-by-one case."""
    model = tiny.shared(name)
    for length in range(tiny.WINDOW - 1, tiny.WINDOW + 3):
        asked = questions((length - 2,))
        assert len(model.encode(asked[0]).ids) == length
        expected = gradients(model, "reference", asked)
        for engine in ("replay", "rows"):
            assert worst(gradients(model, engine, asked), expected) <= 1e-12


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_engines_agree_in_float32(name):
    """In float32 the engines differ by rounding only, from each other and from float64."""
    single, double = tiny.shared(name, torch.float32), tiny.shared(name)
    expected = gradients(double, "reference", questions())
    for engine in ENGINES:
        got = gradients(single, engine, questions())
        assert got.integrated[TARGETS[0]].dtype == torch.float32
        assert worst(got, expected) <= 1e-4


def test_bfloat16_takes_targets_in_float32():
    """A bfloat16 model's IG is float32, finite, and close to the float64 one."""
    half, double = tiny.shared("llama", torch.bfloat16), tiny.shared("llama")
    expected = gradients(double, "reference", questions()).integrated[TARGETS[0]]
    for engine in ENGINES:
        got = gradients(half, engine, questions()).integrated[TARGETS[0]]
        assert got.dtype == torch.float32
        assert float((got - expected).norm() / expected.norm()) <= 0.1


@pytest.mark.parametrize("engine", ENGINES)
def test_small_probabilities_survive_float16(engine):
    """A probability of 1e-6 has gradients that float16 can't hold by themselves; they come out right all the same."""

    class Tiny(na.Target):
        """p(right) over the vocabulary, made smaller."""

        name = "tiny"

        def __call__(self, logits, letters, answer):
            return 1e-6 * logits.softmax(-1).gather(-1, letters).gather(-1, answer[..., None])[..., 0]

    half, double = tiny.shared("llama", torch.float16), tiny.shared("llama")
    target = Tiny()
    got, expected = (gradients(m, engine, questions(), targets=[target]).integrated[target] for m in (half, double))
    assert float((got - expected).norm() / expected.norm()) <= 0.02


# --- choosing an engine --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NO_REPLAY)
def test_auto_refuses_replay_where_it_is_wrong(name):
    """Bloom, MPT and GPT-Neo fall to `rows`, and the reason names replay, architecture and difference."""
    model = tiny.shared(name)
    choice = choose(model, [model.encode(q).ids for q in questions()])
    assert choice.name == "rows"
    assert f"on {model.architecture}" in choice.reason
    assert "replay fails: " in choice.reason if name == "bloom" else "replay differs by " in choice.reason
    with pytest.raises(na.UsageError, match="engine 'replay' does not hold for this model: replay"):
        na.attribute(model, questions(), engine="replay", budget=10)
    assert na.attribute(model, questions(), steps=2, budget=10).engine == "rows"


def test_auto_takes_replay_where_it_holds():
    """LLaMA gets the fast engine, and the reason states the measured agreement."""
    model = tiny.shared("llama")
    choice = choose(model, [model.encode(q).ids for q in questions()])
    assert choice.name == "replay"
    assert "agree with the full pass within" in choice.reason


def test_auto_notices_a_mask_that_is_wrong_only_beyond_the_window(monkeypatch):
    """A proof on short prompts does not vouch for longer ones: there the wrong mask is seen and replay refused."""
    model = tiny.load("mistral")
    real = copies._mask
    monkeypatch.setattr(copies, "_mask", lambda model, prompts, prefix, n, _: real(model, prompts, prefix, n, None))
    short, long = ([model.encode(q).ids for q in questions((n,))] for n in (tiny.WINDOW - 3, 14))
    assert choose(model, short).name == "replay"
    assert choose(model, long).name == "rows"
    assert "replay differs by" in choose(model, long).reason


def test_auto_falls_to_reference_where_no_cache_works(monkeypatch):
    """When copies fail in both forms the reference engine is used, both failures named, and the numbers are right."""
    model = tiny.load("gpt2")
    expected = na.attribute(model, questions(), engine="replay", steps=2, budget=10)

    def broken(self, *args):
        raise ValueError("no cache\nhere")

    monkeypatch.setattr(choosing, "_proved", {})
    monkeypatch.setattr(copies.Copies, "__init__", broken)
    got = na.attribute(model, questions(), steps=2, budget=10)
    assert got.engine == "reference"
    for kind in copies.KINDS:
        assert f"{kind} fails: ValueError: no cache here on GPT2LMHeadModel" in got.engine_reason
    assert difference(got.scores, expected.scores) <= 1e-6


def test_a_single_token_has_no_prefix():
    """A one-token prompt is attributed by full passes; asking for copies is an error."""
    model = tiny.shared("llama")
    asked = na.Question("w1", ("a", "b", "c", "d"), 0)
    assert len(model.encode(asked).ids) == 1
    assert na.attribute(model, [asked, *questions()], steps=2, budget=10).engine == "reference"
    with pytest.raises(na.UsageError, match="at least two tokens"):
        na.attribute(model, [asked], engine="rows", budget=10)


def test_unknown_engine_is_named():
    """An unknown engine is refused with the nearest and all accepted ones."""
    with pytest.raises(na.UsageError, match=r"unknown engine 'replya'; did you mean 'replay'\? accepted: auto, "):
        na.attribute(tiny.shared("llama"), questions(), engine="replya", budget=10)


# --- shared prefixes ----------------------------------------------------------------------------------------------

COMMON = " ".join(tiny.WORDS[:12])


def sharing(lengths=(9, 14, 9, 3)) -> list[na.Question]:
    """Questions that begin alike, for longer than any window."""
    return [replace(q, prompt=f"{COMMON} {q.prompt}") for q in questions(lengths)]


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_a_shared_prefix_changes_nothing(name):
    """Prompts of several lengths that begin alike score and answer as by full passes, on every architecture."""
    model, asked = tiny.shared(name), sharing((9, 14, 3))
    expected = gradients(model, "reference", asked, steps=2)
    edits = [na.edit(na.NeuronSet.of([(0, 3), (2, 5)]), "excite", positions=p) for p in ("last", "all")]
    answers = na.evaluate_many(model, asked, [None, *edits], engine="reference")
    for engine in ["rows"] if name in NO_REPLAY else ["replay", "rows"]:
        assert worst(gradients(model, engine, asked, steps=2), expected) <= 1e-5
        got = na.evaluate_many(model, asked, [None, *edits], engine=engine)
        for a, b in zip(got, answers, strict=True):
            assert torch.allclose(a.log_probabilities, b.log_probabilities, rtol=0, atol=1e-5)
    changes = [(e.log_probabilities - answers[0].log_probabilities).abs().max() for e in answers[1:]]
    assert min(changes) > 1e-3  # or the edits would prove nothing


def test_what_prompts_share_is_run_once(monkeypatch):
    """The common tokens stand in a single forward, of one row, whatever the number of questions."""
    model = tiny.load("llama")
    shared = len(COMMON.split())
    choose(model, [model.encode(q).ids for q in sharing()])
    shapes = []
    real = HookedModel.forward

    def forward(self, ids, **kwargs):
        shapes.append(tuple(ids.shape))
        return real(self, ids, **kwargs)

    monkeypatch.setattr(HookedModel, "forward", forward)
    gradients(model, "replay", sharing(), steps=2)
    assert shapes[0] == (1, shared)
    longest = max(len(model.encode(q).ids) for q in sharing())
    assert shapes[1] == (len(sharing()), longest - 1 - shared)
    assert len([shape for shape in shapes if shape[1] >= shared]) <= 2


def test_prompts_of_all_lengths_share_a_forward(monkeypatch):
    """`replay` batches prompts of different lengths; `rows`, which can't pad, takes one length at a time."""
    model = tiny.shared("gpt2")
    batches = {}
    for kind in copies.KINDS:
        seen = batches.setdefault(kind, [])
        real = copies.Copies.__init__

        def init(self, model, prompts, *rest, real=real, seen=seen):
            seen.append(sorted(map(len, prompts)))
            real(self, model, prompts, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(copies.Copies, "__init__", init)
            gradients(model, kind, questions(), steps=2)
    assert batches == {"replay": [[9, 11, 11, 16]], "rows": [[16], [11, 11], [9]]}


def test_identical_prompts_keep_a_token_of_their_own():
    """Where all prompts are the same, the last token is still each one's own."""
    model = tiny.shared("llama")
    asked = [replace(q, prompt=questions()[0].prompt) for q in questions()]
    assert worst(gradients(model, "replay", asked, steps=2), gradients(model, "reference", asked, steps=2)) <= 1e-6


# --- starting at a later block ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_starting_later_gives_the_same(name):
    """Copies that come in at any block give the logits of those that run all; the model is itself afterwards."""
    model = tiny.shared(name)
    ids = [model.encode(q).ids for q in questions((9, 9))]
    expected = model.last_logits(ids)[:, None]
    late = [[3 * (layer >= start) for layer in range(model.n_layers)] for start in range(model.n_layers)]
    growing = [[0, 1, 3], [2, 2, 3], [1, 2, 3], [0, 0, 3]]
    assert model.n_layers == 3
    for kind in ("rows",) if name in NO_REPLAY else copies.KINDS:
        made = copies.Copies(model, ids, kind)
        made.clean()
        for counts in late + (growing if kind == "replay" else []):
            with torch.no_grad():
                got = made.logits(3, lambda values, layer: values, counts=counts)
            assert difference(got, expected.expand_as(got)) <= 1e-6, (kind, counts)
    assert torch.equal(model.last_logits(ids)[:, None], expected)


def test_copies_are_not_run_below_where_they_come_in():
    """A forward runs in each block those copies that have come in by then, and leaves out blocks without any."""
    model = tiny.shared("llama")
    made = copies.Copies(model, [model.encode(questions()[0]).ids], "replay")
    made.clean()
    for counts in ([0, 0, 2], [0, 1, 5], [2, 3, 4]):
        seen = {}
        with torch.no_grad():
            made.logits(
                counts[-1], lambda values, layer, seen=seen: seen.update({layer: values}) or values, "post", counts
            )
        assert {layer: values.shape[1] for layer, values in seen.items()} == {
            layer: count for layer, count in enumerate(counts) if count
        }


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_auto_lets_copies_come_in_where_they_are_changed(name):
    """`auto` proves that on the model at hand, and attribution by it is that of whole forwards."""
    model = tiny.load(name)
    assert choose(model, [model.encode(q).ids for q in questions()]).steps == "growing"
    encoded = [Asked(model.encode(q), q.answer) for q in questions()]
    path = Path.of("right", 4, "post")
    whole, growing = (
        Choice("replay", "", steps).engine().integrated_gradients(model, encoded, TARGETS, path)
        for steps in ("all", "growing")
    )
    assert worst(growing, whole) <= 1e-6


def test_a_forward_that_was_put_on_a_block_stays():
    """What somebody put on a block acts in copies too, and is there afterwards."""
    model = tiny.load("llama")
    block = model.bridge.blocks[1]
    own = block.forward

    def stronger(*args, **kwargs):
        return own(*args, **kwargs) * 1.1

    vars(block)["forward"] = stronger
    ids = [model.encode(questions()[0]).ids]
    expected = model.last_logits(ids)[:, None]
    made = copies.Copies(model, ids, "replay")
    made.clean()
    for counts in ([3, 3, 3], [1, 2, 3], [0, 0, 3]):
        with torch.no_grad():
            got = made.logits(3, lambda values, layer: values, counts=counts)
        assert difference(got, expected.expand_as(got)) <= 1e-6
        assert vars(block)["forward"] is stronger


def test_only_what_has_grown_with_the_copies_is_cut():
    """Whatever the sizes: a cache as long, or of as many heads, as there are copies stays whole; the mask does not."""
    cache, mask, angles = torch.zeros(2, 4, 4, 8), torch.zeros(2, 1, 4, 10), torch.zeros(1, 4, 4)
    one = suffix._shapes(((cache, cache), mask[:, :, :1, :7], angles[:, :1]))
    got = suffix._of_first(((cache, cache), mask, angles), one, 2, 4)
    assert suffix._shapes(got) == [[(2, 4, 4, 8), (2, 4, 4, 8)], (2, 1, 2, 8), (1, 2, 4)]
    with pytest.raises(ValueError, match="for 4 copies and"):
        suffix._of_first(torch.zeros(2, 6), (2, 4), 2, 4)


def test_copies_as_rows_come_in_all_at_once():
    """Copies that are rows can't come in one by one: refused, not rounded."""
    model = tiny.shared("llama")
    made = copies.Copies(model, [model.encode(questions()[0]).ids], "rows")
    made.clean()
    with pytest.raises(na.UsageError, match="accepted: all 3 at one block"):
        made.logits(3, lambda values, layer: values, counts=[1, 2, 3])


def test_auto_lets_all_come_in_at_once_where_one_by_one_fails(monkeypatch):
    """A model whose blocks can't be given fewer copies than the forward has still starts late."""
    model = tiny.load("llama")

    def fails(value, one, count, total):
        if count < total:
            raise ValueError("not so")
        return value

    monkeypatch.setattr(suffix, "_of_first", fails)
    assert choose(model, [model.encode(q).ids for q in questions()]).steps == "late"


def test_blocks_come_back_after_a_failure():
    """A forward that fails under way leaves every block as it was."""
    model = tiny.load("llama")
    ids = [model.encode(questions()[0]).ids]
    before = model.last_logits(ids)
    made = copies.Copies(model, ids, "replay")
    made.clean()

    def fail(values, layer):
        raise ValueError("under way")

    with pytest.raises(ValueError, match="under way"):
        made.logits(2, fail, counts=[0, 1, 2])
    assert torch.equal(model.last_logits(ids), before)


def test_auto_runs_all_blocks_where_starting_later_is_wrong(monkeypatch):
    """Where a later start gives other logits, the engine still holds, runs every block, and says so."""
    model = tiny.load("llama")
    expected = gradients(model, "reference", questions(), steps=2)
    real = suffix.recording

    @contextmanager
    def wrong(model):
        with real(model) as found:
            yield found
        for layer in found.hidden:
            found.hidden[layer] = found.hidden[layer] * 1.5

    monkeypatch.setattr(copies, "recording", wrong)
    choice = choose(model, [model.encode(q).ids for q in questions()])
    assert (choice.name, choice.steps) == ("replay", "all")
    assert "every forward runs all blocks" in choice.reason
    encoded = [Asked(model.encode(q), q.answer) for q in questions()]
    got = choice.engine().integrated_gradients(model, encoded, TARGETS, Path.of("right", 2, "post"))
    assert worst(got, expected) <= 1e-6


# --- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_results_do_not_depend_on_the_batch(engine):
    """A question's numbers are the same alone, in any order, and beside questions of other lengths."""
    model = tiny.shared("gpt2")
    asked = questions((9, 14, 9, 7, 9, 9, 9, 14, 3))  # more than one batch of equal length
    together = gradients(model, engine, asked)
    backwards = gradients(model, engine, asked[::-1])
    for i, question in enumerate(asked):
        alone = gradients(model, engine, [question])
        for target in TARGETS:
            assert difference(together.integrated[target][i], alone.integrated[target][0]) <= 1e-12
            assert difference(backwards.integrated[target][-1 - i], alone.integrated[target][0]) <= 1e-12
            assert difference(together.change[target][i], alone.change[target][0]) <= 1e-12


@pytest.mark.parametrize("engine", ENGINES)
def test_the_size_of_a_forward_changes_nothing(engine):
    """One point of the path a forward and all points of several prompts give the same numbers."""
    model = tiny.shared("gpt2")
    expected = gradients(model, engine, questions())
    for max_tokens in (1, 3, 5, 10, 10_000):  # a point of the path, parts of a layer, a layer, two, everything
        assert worst(gradients(model, engine, questions(), max_tokens=max_tokens), expected) <= 1e-12


def test_attribution_leaves_the_model_as_it_was():
    """After an attribution no parameter has changed and the logits are bitwise those of before."""
    model = tiny.load("llama")
    ids = [model.encode(q).ids for q in questions()]
    before, state = model.last_logits(ids), model.fingerprint()
    na.attribute(model, questions(), steps=2, budget=10)
    assert torch.equal(model.last_logits(ids), before)
    assert model.fingerprint() == state


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_no_parameter_takes_part_in_the_backward_pass(name):
    """No parameter requires a gradient, those that TransformerLens makes of joint projections included."""
    model = tiny.shared(name)
    assert not model.forward(torch.tensor([[20, 21, 22]])).requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_are_taken_whatever_the_callers_mode(engine, mode):
    """Under no_grad and inference_mode attribution gives what it gives outside."""
    model = tiny.shared("llama")
    expected = na.attribute(model, questions(), engine=engine, steps=2, budget=10)
    with mode():
        got = na.attribute(model, questions(), engine=engine, steps=2, budget=10)
    assert torch.equal(got.scores, expected.scores)


# --- completeness --------------------------------------------------------------------------------------------------


def test_completeness_converges_with_the_steps():
    """Four times the steps leave about a quarter of the right sum's gap: the rule is of first order."""
    model = tiny.shared("llama")
    errors = [na.attribute(model, questions(), steps=m, budget=10).completeness_error for m in (8, 32, 128)]
    assert errors[1] < errors[0] / 2.5
    assert errors[2] < errors[1] / 2.5
    assert errors[2] < 0.02


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("steps", [8, 16])
def test_better_quadratures_leave_smaller_gaps(name, steps):
    """At equal m, Gauss-Legendre and midpoint leave less than the right sum."""
    model = tiny.shared(name)
    error = {
        rule: na.attribute(model, questions(), steps=steps, quadrature=rule, budget=10).completeness_error
        for rule in ("right", "midpoint", "gauss-legendre")
    }
    assert error["gauss-legendre"] < error["right"] / 2
    assert error["midpoint"] < error["right"]


def test_quadratures_converge_to_one_integral():
    """Gauss-Legendre with 64 nodes and the midpoint rule with 256 agree: they approximate the same integral."""
    model = tiny.shared("llama")
    asked = questions((9,))
    a = gradients(model, "replay", asked, steps=64, quadrature="gauss-legendre")
    b = gradients(model, "replay", asked, steps=256, quadrature="midpoint")
    assert worst(a, b) <= 1e-3


def test_auto_steps_stop_at_the_first_m_that_is_good_enough():
    """steps="auto" doubles m until the completeness error is within 10 %, and no further."""
    model = tiny.shared("llama")
    asked = questions((9, 14))
    errors = ((m, na.attribute(model, asked, steps=m, budget=10).completeness_error) for m in (16, 32, 64, 128, 256))
    first, error = next((m, error) for m, error in errors if error <= attribute.COMPLETENESS_TOLERANCE)
    got = na.attribute(model, asked, steps="auto", budget=10)
    assert got.steps == first
    assert got.completeness_error == pytest.approx(error, rel=1e-6)
    assert got.completeness_error <= 0.1


def test_auto_steps_double_more_than_once_and_end_at_256(monkeypatch):
    """A tolerance that needs more steps gets them; one that can't be met ends at 256."""
    model = tiny.shared("llama", num_hidden_layers=1)
    asked = questions()[:1]
    at = {m: na.attribute(model, asked, steps=m, budget=10).completeness_error for m in (16, 32, 64)}
    assert at[64] < at[32] < at[16]
    for less, more in ((16, 32), (32, 64)):
        monkeypatch.setattr(attribute, "COMPLETENESS_TOLERANCE", (at[less] + at[more]) / 2)
        assert na.attribute(model, asked, steps="auto", budget=10).steps == more
    monkeypatch.setattr(attribute, "COMPLETENESS_TOLERANCE", 0.0)
    assert na.attribute(model, asked, steps="auto", budget=10).steps == 256


def test_auto_steps_are_one_m_for_a_call(monkeypatch):
    """What one scorer needs, the others take too; one with passes of its own is told that m."""
    model = tiny.shared("llama")
    asked = questions()
    at = {name: na.attribute(model, asked, name, budget=10).completeness_error for name in ("ace", "tn")}
    less, more = sorted(at, key=lambda name: at[name])
    monkeypatch.setattr(attribute, "COMPLETENESS_TOLERANCE", (at[less] + at[more]) / 2)
    told = []

    class Own(na.Scorer):
        name = "own"

        def attribute(self, model, examples, settings):
            told.append(settings.steps)
            return na.attribute(model, examples, steps=settings.steps, budget=10)

    assert na.attribute(model, asked, less, steps="auto", budget=10).steps == 16
    found = na.attribute_many(model, asked, [less, Own(), more], steps="auto", budget=10)
    assert {a.steps for a in found.values()} == {32}
    assert told == [32]


def test_completeness_is_stated_as_defined():
    """completeness is |Σ IG − change| per question and layer; its error is Σ gap / Σ |change|."""
    model = tiny.shared("gpt2")
    a = na.attribute(model, questions(), "tn", steps=4, budget=10)
    plain = gradients(model, "reference", questions())
    gap = (plain.integrated[TARGETS[1]].sum(-1) - plain.change[TARGETS[1]]).abs()
    assert a.completeness.shape == (len(LENGTHS), model.n_layers)
    assert torch.allclose(a.completeness.double(), gap, rtol=1e-4, atol=1e-8)
    assert a.completeness_error == pytest.approx(float(gap.sum() / plain.change[TARGETS[1]].abs().sum()), rel=1e-4)


# --- sites and sharing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_the_up_site_of_a_gated_ffn_scores_as_post(engine):
    """Scaling the up projection scales the gated product alike, so IG at both sites is the same number."""
    model = tiny.shared("llama")
    post = gradients(model, engine, questions())
    up = gradients(model, engine, questions(), site="up")
    assert difference(up.integrated[TARGETS[0]], post.integrated[TARGETS[0]]) <= 1e-6
    assert difference(up.values, post.values) > 0.1


def test_sites_that_are_not_there_are_named():
    """An ungated FFN has no up site, and an unknown site is refused."""
    with pytest.raises(na.UsageError, match="GPT2LMHeadModel\\) has no site 'up': its FFN is not gated"):
        na.attribute(tiny.shared("gpt2"), questions(), site="up", budget=10)
    with pytest.raises(na.UsageError, match="unknown site 'pots'; did you mean 'post'"):
        na.attribute(tiny.shared("gpt2"), questions(), site="pots", budget=10)


def test_scorers_share_the_gradient_of_equal_targets(monkeypatch):
    """attribute_many asks for each distinct target once and gives what attribute gives for each scorer."""
    model = tiny.shared("llama")
    names = ["ace", "tn", "qrnca", "kn", "act"]
    single = {name: na.attribute(model, questions(), name, steps=4, budget=10) for name in names}
    asked_for = []
    real = replay.CopiesEngine.integrated_gradients

    def record(self, model, questions, targets, path, progress=None):
        asked_for.append(list(targets))
        return real(self, model, questions, targets, path, progress)

    monkeypatch.setattr(replay.CopiesEngine, "integrated_gradients", record)
    many = na.attribute_many(model, questions(), names, steps=4, budget=10)
    assert asked_for == [TARGETS]
    for name in names:
        assert torch.allclose(many[name].scores, single[name].scores, rtol=1e-5, atol=1e-9)
    assert many["qrnca"].target == many["kn"].target != many["ace"].target


def test_example_scores_sum_the_proxies():
    """ES of an example is the sum of its proxies' IG, also when examples have different numbers of proxies."""
    model = tiny.shared("gpt2")
    asked = questions((9, 14, 9, 7, 11))
    examples = [na.Example(None, tuple(asked[:3])), asked[3], na.Example(None, (asked[4],))]
    a = na.attribute(model, examples, "qrnca", steps=4, budget=10)
    ig = gradients(model, "reference", asked).integrated[TARGETS[2]]
    expected = torch.stack([ig[:3].sum(0), ig[3], ig[4]])
    assert difference(a.example_scores, expected) <= 1e-6


class Broken(na.Target):
    """Returns whatever it is given, for a test."""

    name = "broken"

    def __init__(self, f) -> None:
        self.f = f

    def __call__(self, logits, letters, answer):
        return self.f(logits)


class Needs(na.Scorer):
    name = "needs"

    def __init__(self, f, **options) -> None:
        super().__init__(**options)
        self.target = Broken(f)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda logits: logits.mean(), r"of shape \(\)"),
        (lambda logits: logits, "of shape"),
        (lambda logits: logits.argmax(-1), "torch.int64"),
        (lambda logits: logits.detach()[..., 0], "without a gradient"),
        (lambda logits: logits[..., 0] * float("nan"), "not finite"),
        (lambda logits: 0.5, "float"),
    ],
)
def test_a_target_that_breaks_its_contract_is_named(engine, f, said):
    """A target's result must be floating, finite, one number a question, and depend on the logits."""
    with pytest.raises(na.PluginError, match=rf"target 'broken'.*{said}.*accepted: "):
        na.attribute(tiny.shared("gpt2"), questions(), Needs(f), engine=engine, steps=2, budget=10)


@pytest.mark.parametrize("change", [{"max_tokens": 40}, {"engine": "rows"}, {"engine": "reference"}, "threads"])
def test_in_float32_only_rounding_differs(change):
    """Other batch sizes, engines, threads: scores and answers within 1e-5 of the largest; with none, the same bits."""
    model, asked = tiny.shared("llama", torch.float32), questions((9, 14, 9))
    edit = na.edit(na.NeuronSet.of([(0, 3), (1, 5), (2, 7)]), "excite")

    def found(**given):
        scores = [na.attribute(model, asked, name, budget=5, **given).example_scores for name in ("ace", "grad-x-act")]
        return [*scores, na.evaluate(model, asked, edit, **given).log_probabilities]

    first, again = found(), found()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    threads = torch.get_num_threads()
    try:
        if change == "threads":
            torch.set_num_threads(threads + 1)
        other = found() if change == "threads" else found(**change)
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(first, other, strict=True):
        assert difference(two, one) <= 1e-5
