"""PyTorch's half of ops.cpp:   ops.py fp32|bf16"""

import sys
import time

import torch
import torch.nn.functional as F
from serve import serve

ROWS, WIDTH, INNER, VOCAB = 2048, 576, 1536, 49152
DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}[sys.argv[1]]


def numbers(n, seed, dtype=DTYPE):
    return (((torch.arange(n) + seed) * 7919 % 2048).float() / 1024 - 1).to(dtype)


def mean(x):
    return x.double().abs().sum().item() / x.numel()


def means(all_x):
    return sum(map(mean, all_x))


def repeat(f, number, count=20):
    """As in ops.cpp: the number of what f returns, and the time that it takes `count` times, behind a warm-up."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.05:
        f()
    begin, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        result = f()
    seconds, busy = time.perf_counter() - begin, time.process_time() - processor
    return number(result), seconds, busy


class Ops:
    def __init__(self):
        self.x, self.rows = numbers(ROWS * WIDTH, 1).view(ROWS, WIDTH), numbers(ROWS * WIDTH, 5).view(ROWS, WIDTH)
        self.weight, self.bias = numbers(WIDTH, 2), numbers(WIDTH, 3)
        self.gate, self.up = (numbers(ROWS * INNER, s).view(ROWS, INNER) for s in (1, 2))
        heads = lambda n, seed: numbers(ROWS * n * 64, seed).view(4, 512, n, 64).transpose(1, 2)
        self.q, self.k, self.v = heads(9, 1), heads(3, 2), heads(3, 3)

    def gradient(self, f, inputs, incoming):
        inputs = [x.detach().requires_grad_() for x in inputs]
        y = f(*inputs)
        return torch.autograd.grad(y, inputs, incoming(y))

    def norm(self, x):
        return F.rms_norm(x, (WIDTH,), self.weight, 1e-5)

    def normalised(self, x):
        return F.layer_norm(x, (WIDTH,), self.weight, self.bias, 1e-5)

    def rms_norm(self):
        with torch.no_grad():
            return repeat(lambda: self.norm(self.x), mean)

    def rms_norm_gradient(self):
        return repeat(lambda: self.gradient(self.norm, [self.x], lambda y: self.x), means)

    def layer_norm(self):
        with torch.no_grad():
            return repeat(lambda: self.normalised(self.x), mean)

    def layer_norm_gradient(self):
        return repeat(lambda: self.gradient(self.normalised, [self.x], lambda y: self.rows), means)

    def swiglu(self):
        with torch.no_grad():
            return repeat(lambda: F.silu(self.gate) * self.up, mean)

    def swiglu_gradient(self):
        f = lambda gate, up: F.silu(gate) * up
        return repeat(lambda: self.gradient(f, [self.gate, self.up], lambda y: y.detach()), means)

    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def attention(self):
        with torch.no_grad():
            return repeat(lambda: self.attend(self.q, self.k, self.v), mean)

    def attention_gradient(self):
        return repeat(lambda: self.gradient(self.attend, [self.q, self.k, self.v], lambda y: self.q), means)

    def cross_entropy_gradient(self):
        if not hasattr(self, "table"):
            self.table = numbers(VOCAB * WIDTH, 1).view(VOCAB, WIDTH)
        x = self.x[:1024].detach().requires_grad_()

        def step():
            x.grad = None
            loss = F.cross_entropy(F.linear(x, self.table).float(), torch.full((1024,), 7))
            loss.backward()
            return loss

        return repeat(step, torch.Tensor.item, 1)

    def adamw(self):
        if not hasattr(self, "optimizer"):
            x = torch.nn.Parameter(numbers(8 << 20, 3, torch.float32))
            x.grad = numbers(8 << 20, 4, torch.float32)
            self.optimizer = torch.optim.AdamW([x], lr=1e-4, fused=True)
        return repeat(self.optimizer.step, lambda _: 0, 4)


serve(Ops())
