"""PyTorch's half of bench/peers/run: the composition of composition.hpp, in the weights that calm wrote.

    composition.py fp32|autocast|bf16 FOLDER

Frozen parameters have no gradients and nothing below the first link is recorded; attention is
scaled_dot_product_attention; caches are as long as they become, from the start. "autocast": bf16 by torch.autocast;
"bf16": the frozen weights are in bf16 besides. The protocol is that of composition.cpp.
"""

import contextlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from serve import serve

TEXTS, LENGTH, DECODED, VOCAB = 4, 512, 128, 49152
LINKS = {5 * i + 4: 2 * i + 1 for i in range(6)}  # anchor layer -> augment layer


def rotate(x, cos, sin):  # x: [batch, heads, time, width]
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Base:
    """A frozen Llama-like model."""

    def __init__(self, file, layers, heads, kv_heads, dtype):
        self.w = {name: x.to(dtype) for name, x in load_file(file).items()}
        self.layers, self.heads, self.kv_heads, self.width = layers, heads, kv_heads, 64
        angle = torch.outer(torch.arange(LENGTH + DECODED).double(), 10000 ** (-torch.arange(0, 64, 2).double() / 64))
        self.cos = torch.cat((angle.cos(),) * 2, dim=-1).to(dtype)
        self.sin = torch.cat((angle.sin(),) * 2, dim=-1).to(dtype)

    def caches(self, n):
        shape = (1, self.kv_heads, n, self.width)
        kind = dict(dtype=torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.cos.dtype)
        return [(torch.zeros(shape, **kind), torch.zeros(shape, **kind)) for _ in range(self.layers)]

    def embed(self, tokens):
        return F.embedding(tokens, self.w["embed_tokens.weight"])

    def norm(self, x, name):
        return F.rms_norm(x, x.shape[-1:], self.w[name].to(x.dtype), 1e-5)

    def block(self, x, i, start, caches):
        w, p = self.w, f"layers.{i}."
        b, t, _ = x.shape
        n = self.norm(x, p + "input_layernorm.weight")
        q, k, v = (F.linear(n, w[p + f"self_attn.{name}_proj.weight"]).view(b, t, -1, self.width).transpose(1, 2)
                   for name in "qkv")
        cos, sin = self.cos[start:start + t], self.sin[start:start + t]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if caches:
            k, v = remember(caches[i], k, v, start)
        y = attention(q, k, v).transpose(1, 2).reshape(b, t, -1)
        x = x + F.linear(y, w[p + "self_attn.o_proj.weight"])
        n = self.norm(x, p + "post_attention_layernorm.weight")
        n = F.silu(F.linear(n, w[p + "mlp.gate_proj.weight"])) * F.linear(n, w[p + "mlp.up_proj.weight"])
        return x + F.linear(n, w[p + "mlp.down_proj.weight"])


def remember(cache, k, v, start):
    n = start + k.shape[2]
    cache[0][:, :, start:n], cache[1][:, :, start:n] = k, v
    return cache[0][:, :, :n], cache[1][:, :, :n]


def attention(q, k, v):
    q, k = q.to(v.dtype), k.to(v.dtype)
    return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1, enable_gqa=q.shape[1] != k.shape[1])


class Bridge(torch.nn.Module):
    """Attention(Q: h, K and V: f_proj(a)) W_O   (arXiv 2401.02412, section 3.1)"""

    def __init__(self, weights):
        super().__init__()
        for name, x in weights.items():
            self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(x))

    def forward(self, h, a, start, cache):
        b, t, _ = h.shape
        heads = lambda x: x.view(b, t, 9, 64).transpose(1, 2)
        p = F.linear(a, self.proj_weight)
        q, k, v = (heads(F.linear(x, w)) for x, w in
                   ((h, self.q_proj_weight), (p, self.k_proj_weight), (p, self.v_proj_weight)))
        if cache:
            k, v = remember(cache, k, v, start)
        return F.linear(attention(q, k, v).transpose(1, 2).reshape(b, t, -1), self.o_proj_weight)


class Composition(torch.nn.Module):
    def __init__(self, folder, dtype):
        super().__init__()
        self.anchor = Base(folder + "/anchor.safetensors", 30, 9, 3, dtype)
        self.augment = Base(folder + "/augment.safetensors", 12, 6, 3, dtype)
        weights = load_file(folder + "/bridges.safetensors")
        self.bridges = torch.nn.ModuleList(
            Bridge({n.split(".", 2)[2]: x for n, x in weights.items() if n.startswith(f"bridges.{i}.")})
            for i in range(len(LINKS)))

    def forward(self, tokens, start=0, caches=None):
        augment, anchor, links = caches or (None, None, [None] * len(LINKS))
        states = {}
        with torch.no_grad():
            a = self.augment.embed(tokens)
            for i in range(self.augment.layers):
                states[i] = a = self.augment.block(a, i, start, augment)
        below = torch.no_grad()
        below.__enter__()
        x = self.anchor.embed(tokens)
        link = 0
        for i in range(self.anchor.layers):
            x = self.anchor.block(x, i, start, anchor)
            if i in LINKS:
                if link == 0:
                    below.__exit__(None, None, None)
                x = x + self.bridges[link](x, states[LINKS[i]].to(x.dtype), start, links[link])
                link += 1
        return x

    def head(self, x):
        return F.linear(self.anchor.norm(x, "norm.weight"), self.anchor.w["embed_tokens.weight"])


class Peer:
    def __init__(self, kind, folder):
        self.model = Composition(folder, torch.bfloat16 if kind == "bf16" else torch.float32)
        self.cast = lambda: (contextlib.nullcontext() if kind == "fp32" else torch.autocast("cpu", torch.bfloat16))
        self.optimizer = None
        self.caches = None

    def step(self):
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
        text = torch.tensor([[(b + t) * 7919 % VOCAB for t in range(LENGTH + 1)] for b in range(TEXTS)])
        with self.cast():
            logits = self.model.head(self.model(text[:, :-1]))
            loss = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    @torch.inference_mode()
    def read(self, tokens, start):
        with self.cast():
            x = self.model(tokens, start, self.caches)[:, -1:]
            return self.model.head(x).argmax().item()

    def prefill(self):
        with self.cast():
            n = LENGTH + DECODED
            augment, anchor = self.model.augment.caches(n), self.model.anchor.caches(n)
            kind = dict(dtype=anchor[0][0].dtype)
            links = [(torch.zeros(1, 9, n, 64, **kind), torch.zeros(1, 9, n, 64, **kind)) for _ in LINKS]
            self.caches = augment, anchor, links
        self.next = self.read(torch.tensor([[t * 7919 % VOCAB for t in range(LENGTH)]]), 0)
        return self.next

    def decode(self):
        if self.caches is None:
            self.prefill()
        for i in range(DECODED):
            self.next = self.read(torch.tensor([[self.next]]), LENGTH + i)
        return self.next


serve(Peer(*sys.argv[1:3]))
