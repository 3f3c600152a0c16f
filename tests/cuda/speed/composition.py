#!/usr/bin/env python3
"""PyTorch's half of `calm_cuda_speed training8` and `decoding`: the same composition, in bf16, on the same GPU.

    composition.py TFLOP_OF_A_STEP CEILING [texts [tokens]]    prints lines of JSON as calm_cuda_speed does
    composition.py --decode TB_OF_A_TOKEN CEILING              one text, token by token

Frozen parameters have no gradients, nothing below the first link is recorded, the augment ends at its last link;
attention is scaled_dot_product_attention, each block is compiled by torch.compile (and run as it is where that fails),
and AdamW is fused. Two things are left out, in PyTorch's favour: the bridges' sinks, and exact copies of their
parameters in fp32. The cross-entropy is taken in chunks whose logits are computed again in the backward pass where the
whole would not fit. Decoding has caches of fixed size, the bridges' projections folded, and a step recorded as a CUDA
graph, of operations that torch.compile has fused or of those that PyTorch runs itself. `--tiny` is a small
composition, for a machine without a GPU.
"""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

tiny = "--tiny" in sys.argv
arguments = [float(x) for x in sys.argv[1:] if not x.startswith("--")] + [0, 0]
work, ceiling = arguments[:2]
texts, tokens = (int(arguments[2]), int(arguments[3])) if len(arguments) > 5 else (2, 16) if tiny else (8, 2048)
decode = "--decode" in sys.argv
CAPACITY, PROMPT = 512, 128  # of decoding
if decode:
    texts, tokens = 1, CAPACITY
device = "cpu" if tiny else "cuda"
scale = 16 if tiny else 1

# layers, hidden, heads, inner, vocabulary; one key head, heads of 256
ANCHOR = 18, 2048 // scale, 8, 16384 // scale, 256000 // scale
AUGMENT = 18, 640 // scale, 4, 2048 // scale, 262144 // scale
WIDTH, LINKS = 256 // scale, 8
LINKED = [(i + 1) * 18 // LINKS - 1 for i in range(LINKS)]  # layers of both models: Uniform<..., 8>


def frozen(*shape):
    return torch.nn.Parameter((torch.rand(shape, device=device, dtype=torch.bfloat16) - 0.5) * 0.04, requires_grad=False)


def rotate(x, table):
    a, b = x.chunk(2, dim=-1)
    return x * table[0] + torch.cat((-b, a), dim=-1) * table[1]


class Cache:
    """Keys and values of one layer, [1, heads, CAPACITY, WIDTH], where they always are."""

    def __init__(self, heads):
        self.k, self.v = (torch.zeros(1, heads, CAPACITY, WIDTH, device=device, dtype=torch.bfloat16) for _ in range(2))

    def put(self, k, v, at):
        self.k.index_copy_(2, at, k)
        self.v.index_copy_(2, at, v)
        return self.k, self.v


class Block(torch.nn.Module):
    def __init__(self, hidden, heads, inner, post_norms, qk_norm):
        super().__init__()
        self.norms = torch.nn.ParameterList(frozen(hidden) for _ in range(4 if post_norms else 2))
        self.head_norms = torch.nn.ParameterList(frozen(WIDTH) for _ in range(2 if qk_norm else 0))
        self.q, self.kv, self.o = frozen(heads * WIDTH, hidden), frozen(2 * WIDTH, hidden), frozen(hidden, heads * WIDTH)
        self.gate_up, self.down = frozen(2 * inner, hidden), frozen(hidden, inner)

    def forward(self, x, table, cache=None, at=None, seen=None):
        norm = lambda v, i: F.rms_norm(v, v.shape[-1:], 1 + self.norms[i], 1e-6)
        b, t, _ = x.shape
        n = norm(x, 0)
        q = F.linear(n, self.q).view(b, t, -1, WIDTH)
        k, v = F.linear(n, self.kv).view(b, t, 2, WIDTH).unbind(2)
        k, v = k[:, None], v[:, None]
        q = q.transpose(1, 2)
        if len(self.head_norms):
            q = F.rms_norm(q, (WIDTH,), 1 + self.head_norms[0], 1e-6)
            k = F.rms_norm(k, (WIDTH,), 1 + self.head_norms[1], 1e-6)
        q, k = rotate(q, table), rotate(k, table)
        if cache is not None:
            k, v = cache.put(k, v, at)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=cache is None, enable_gqa=True)
        y = F.linear(y.transpose(1, 2).reshape(b, t, -1), self.o)
        post = len(self.norms) == 4
        x = x + (norm(y, 1) if post else y)
        gate, up = F.linear(norm(x, 2 if post else 1), self.gate_up).chunk(2, dim=-1)
        y = F.linear(F.gelu(gate, approximate="tanh") * up, self.down)
        return x + (norm(y, 3) if post else y)


class Model(torch.nn.Module):
    def __init__(self, shape, post_norms, qk_norm):
        super().__init__()
        layers, hidden, heads, inner, vocab = shape
        self.embed = frozen(vocab, hidden)
        self.norm = frozen(hidden)
        self.blocks = torch.nn.ModuleList(Block(hidden, heads, inner, post_norms, qk_norm) for _ in range(layers))


class Bridge(torch.nn.Module):
    def __init__(self):
        super().__init__()
        d, a = ANCHOR[1], AUGMENT[1]
        kind = dict(device=device, dtype=torch.bfloat16)
        make = lambda *shape: torch.nn.Parameter(torch.randn(shape, **kind) / shape[-1] ** 0.5)
        self.norm_h, self.norm_a = make(d), make(a)
        self.proj, self.q, self.kv, self.o = make(d, a), make(d, d), make(2 * d, d), make(d, d)

    def fold(self):
        self.folded = self.kv.detach() @ self.proj.detach()

    def forward(self, h, a, cache=None, at=None, seen=None):
        b, t, d = h.shape
        heads = lambda x: x.view(b, t, -1, WIDTH).transpose(1, 2)
        q = heads(F.linear(F.rms_norm(h, (d,), self.norm_h, 1e-6), self.q))
        n = F.rms_norm(a, a.shape[-1:], self.norm_a, 1e-6)
        both = F.linear(F.linear(n, self.proj), self.kv) if cache is None else F.linear(n, self.folded)
        k, v = (heads(x) for x in both.chunk(2, dim=-1))
        if cache is not None:
            k, v = cache.put(k, v, at)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=cache is None)
        return h + F.linear(y.transpose(1, 2).reshape(b, t, d), self.o)


class Composition(torch.nn.Module):
    def __init__(self, compiled):
        super().__init__()
        torch.manual_seed(0)
        self.anchor, self.augment = Model(ANCHOR, False, False), Model(AUGMENT, True, True)
        self.bridges = torch.nn.ModuleList(Bridge() for _ in range(LINKS))
        angle = torch.outer(torch.arange(tokens).double(), 10000 ** (-torch.arange(0, WIDTH, 2).double() / WIDTH))
        angle = torch.cat((angle, angle), dim=-1).to(device)
        self.table = angle.cos().bfloat16(), angle.sin().bfloat16()
        if compiled:
            for part in (*self.anchor.blocks, *self.augment.blocks, *self.bridges):
                part.compile(dynamic=False)

    def forward(self, ids):
        with torch.no_grad():
            states, a = [], F.embedding(ids, self.augment.embed) * 25.25
            for i in range(LINKED[-1] + 1):
                a = self.augment.blocks[i](a, self.table)
                if i in LINKED:
                    states.append(a)
            x = F.embedding(ids, self.anchor.embed) * 45.25
            for i in range(LINKED[0] + 1):
                x = self.anchor.blocks[i](x, self.table)
        x = self.bridges[0](x, states[0])
        for i in range(LINKED[0] + 1, len(self.anchor.blocks)):
            x = self.anchor.blocks[i](x, self.table)
            if i in LINKED:
                link = LINKED.index(i)
                x = self.bridges[link](x, states[link])
        return F.rms_norm(x, x.shape[-1:], 1 + self.anchor.norm, 1e-6).flatten(0, 1)


    def prepare(self):
        """Room for one text, and what its steps need each time."""
        self.places = torch.arange(CAPACITY, device=device)
        self.caches = [Cache(1) for _ in range(LINKED[-1] + 1)], [Cache(1) for _ in self.anchor.blocks]
        self.link_caches = [Cache(ANCHOR[2]) for _ in self.bridges]
        for bridge in self.bridges:
            bridge.fold()

    @torch.no_grad()
    def step(self, ids, at):
        """The most likely token behind `ids`, [1, 1], at place `at`, [1]; both then are the next step's."""
        table, seen = [t.index_select(0, at) for t in self.table], (self.places <= at)[None, None, None]
        a, x = F.embedding(ids, self.augment.embed) * 25.25, F.embedding(ids, self.anchor.embed) * 45.25
        states = []
        for i, cache in enumerate(self.caches[0]):
            a = self.augment.blocks[i](a, table, cache, at, seen)
            if i in LINKED:
                states.append(a)
        for i, cache in enumerate(self.caches[1]):
            x = self.anchor.blocks[i](x, table, cache, at, seen)
            if i in LINKED:
                link = LINKED.index(i)
                x = self.bridges[link](x, states[link], self.link_caches[link], at, seen)
        x = F.rms_norm(x, x.shape[-1:], 1 + self.anchor.norm, 1e-6)
        ids.copy_(F.linear(x, self.anchor.embed).argmax(-1))
        at.add_(1)
        return x


def loss_of(model, ids, chunks):
    x, targets = model(ids[:, :-1]), ids[:, 1:].flatten()
    part = lambda rows, wanted: F.cross_entropy(F.linear(rows, model.anchor.embed), wanted, reduction="sum")
    if chunks == 1:
        return part(x, targets) / targets.numel()
    parts = [checkpoint(part, a, b, use_reentrant=False) for a, b in zip(x.chunk(chunks), targets.chunk(chunks))]
    return sum(parts) / targets.numel()


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def measure(compiled, chunks):
    model = Composition(compiled)
    trained = list(model.bridges.parameters())
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01, fused=True)
    ids = torch.randint(0, ANCHOR[4], (texts, tokens + 1), device=device)

    def step():
        wait()
        begin = time.perf_counter()
        loss = loss_of(model, ids, chunks)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        wait()
        return time.perf_counter() - begin, value

    for _ in range(3):
        step()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rounds = [step() for _ in range(5)]
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    return statistics.median(seconds for seconds, _ in rounds), peak, rounds[-1][1]


def check_decoding(model):
    """Steps give the states of one pass over the same tokens, but for rounding."""
    ids = torch.randint(0, ANCHOR[4], (1, CAPACITY), device=device)
    whole, at = model(ids), torch.zeros(1, dtype=torch.long, device=device)
    for i in range(6):
        x = model.step(ids[:, i:i + 1].clone(), at)
        assert (x[0, 0] - whole[i]).norm() < 0.05 * whole[i].norm(), f"decoding differs at token {i}"


def measure_decoding(compiled):
    model = Composition(False)
    model.prepare()
    if tiny:
        check_decoding(model)
    run = torch.compile(model.step, dynamic=False) if compiled else model.step
    ids, at = torch.full((1, 1), 7, device=device), torch.full((1,), PROMPT, device=device)
    for _ in range(3):
        run(ids, at)
    if device == "cuda":
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            run(ids, at)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run(ids, at)
        replay = graph.replay
    else:
        replay = lambda: run(ids, at)
    for _ in range(8):
        replay()
    wait()
    begin, steps = time.perf_counter(), 8 if tiny else 128
    for _ in range(steps):
        replay()
        ids.item()  # whoever decodes needs each token
    return (time.perf_counter() - begin) / steps


def attempt(name, measure_it):
    try:
        return measure_it()
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:  # out of memory, too
        print(json.dumps({"name": name + ": failed", "what": str(error)[:200]}), flush=True)
    return None


def print_figure(name, seconds, unit):
    rate = work / seconds
    print(json.dumps({"name": name, "microseconds": round(seconds * 1e6, 2), "rate": float(f"{rate:.4g}"), "unit": unit,
                      "ceiling": ceiling, "share": round(rate / ceiling, 3) if ceiling else 0}), flush=True)


def report(compiled, chunks):
    name = f"PyTorch: training step, {texts} texts of {tokens}, {'compiled' if compiled else 'eager'}, chunks: {chunks}"
    if (found := attempt(name, lambda: measure(compiled, chunks))) is None:
        return
    print_figure(name, found[0], "TFLOP/s")
    print(json.dumps({"name": name + ": memory", "peak_bytes": found[1], "loss": float(f"{found[2]:.5g}")}), flush=True)


def report_decoding(compiled):
    name = f"PyTorch: decoding, one text, {'compiled' if compiled else 'eager'}, recorded"
    if (seconds := attempt(name, lambda: measure_decoding(compiled))) is not None:
        print_figure(name, seconds, "TB/s")


if __name__ == "__main__":
    for variant in ((False,), (True,)) if decode else ((True, 1), (True, 8), (False, 8)):
        (report_decoding if decode else report)(*variant)
        if device == "cuda":
            torch.cuda.empty_cache()
