#!/usr/bin/env python3
"""Writes the anchor of composition.hpp as a GGUF file, for llama.cpp. Needs PyPI's gguf, numpy and safetensors.

    gguf_anchor.py FOLDER/anchor.safetensors f32|bf16 OUT.gguf

Rows of W_Q and W_K change places: llama.cpp turns neighbours in a head, calm what is half a head apart (the two ways to
write RoPE; llama.cpp's convert_hf_to_gguf.py does the same). There is no tokenizer: llama-bench feeds token ids.
"""

import sys

import gguf
import numpy as np
from safetensors.numpy import load_file

LAYERS, HEADS, KV_HEADS, WIDTH, HIDDEN, INNER, VOCAB = 30, 9, 3, 64, 576, 1536, 49152
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def neighbours(w):
    heads = w.shape[0] // WIDTH
    return w.reshape(heads, 2, WIDTH // 2, -1).swapaxes(1, 2).reshape(w.shape)


def main():
    file, kind, out = sys.argv[1:]
    weights = load_file(file)
    kept = gguf.GGMLQuantizationType.BF16 if kind == "bf16" else gguf.GGMLQuantizationType.F32
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_vocab_size(VOCAB)
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_rope_freq_base(10000)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("none")

    def add(name, w):
        w = np.ascontiguousarray(w, dtype=np.float32)
        if w.ndim == 1 or kind != "bf16":
            writer.add_tensor(name, w)
        else:
            writer.add_tensor(name, gguf.quantize(w, kept), raw_dtype=kept)

    add("token_embd.weight", weights["embed_tokens.weight"])
    add("output_norm.weight", weights["norm.weight"])
    for i in range(LAYERS):
        for ours, theirs in NAMES.items():
            w = weights[f"layers.{i}.{ours}.weight"]
            add(f"blk.{i}.{theirs}.weight", neighbours(w) if ours.endswith(("q_proj", "k_proj")) else w)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
