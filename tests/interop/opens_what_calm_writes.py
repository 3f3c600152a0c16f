"""Python opens what calm writes: transformers tells stories260K's story from the folder that calm-convert made.

    python3 opens_what_calm_writes.py <calm-convert> <folder of stories260K> <folder to write>
"""

import pathlib
import re
import struct
import subprocess
import sys

try:
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: this Python has no {error.name}")
    sys.exit(0)

convert, data, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
if not (data / "stories260K.bin").exists():
    print(f"skipped: no stories260K.bin in {data}")
    sys.exit(0)

subprocess.run([convert, "llama2c", data / "stories260K.bin", work], check=True)
model, report = transformers.AutoModelForCausalLM.from_pretrained(work, output_loading_info=True)
assert not any(report.values()), report  # no key is missing, none is left over

tokens = model.generate(torch.tensor([[1]]), max_new_tokens=256, do_sample=False)[0, 1:].tolist()
pieces, raw, at = [], (data / "tok512.bin").read_bytes(), 4
while at < len(raw):
    (length,) = struct.unpack_from("<i", raw, at + 4)
    piece = raw[at + 8 : at + 8 + length]
    pieces.append(bytes([int(piece[3:5], 16)]) if re.fullmatch(rb"<0x..>", piece) else piece)
    at += 8 + length
story = b"".join(pieces[token] for token in tokens).decode()[1:]
expected = (data / "EXPECTED_stories260K.md").read_text().split("-t 0.0\n")[1].split("\n```")[0]
assert story == expected, story
print(f"transformers {transformers.__version__} tells the story: {len(tokens)} tokens")
