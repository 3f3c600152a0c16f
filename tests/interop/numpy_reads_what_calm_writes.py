"""Python opens what calm writes, with numpy and safetensors alone: tensors of every type, bridges, a converted model.

    python3 numpy_reads_what_calm_writes.py <writes_files> <calm-convert> <folder of stories260K> <folder to write>
"""

import json
import pathlib
import subprocess
import sys

try:
    import numpy
    import safetensors
    from safetensors.numpy import load_file
except ImportError as error:
    print(f"skipped: this Python has no {error.name}")
    sys.exit(0)

writes_files, convert, data, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
subprocess.run([writes_files, work], check=True)

# One tensor of each type. numpy has no bfloat16, so its bits are looked at: those of the float32, cut in half.
path = work / "types.safetensors"
tensors = dict(safetensors.deserialize(path.read_bytes()))
reals, integers = numpy.arange(15, dtype=numpy.float32) / 4 - 1, numpy.arange(15) - 4
expected = {"F32": reals, "F64": reals.astype("f8"), "F16": reals.astype("f2"), "I32": integers.astype("i4"),
            "BF16": (reals.view("u4") >> 16).astype("u2")}  # fmt: skip
assert tensors.keys() == expected.keys(), tensors.keys()
for name, numbers in expected.items():
    found = tensors[name]
    assert (found["dtype"], found["shape"], bytes(found["data"])) == (name, [3, 5], numbers.tobytes()), found
with safetensors.safe_open(path, "numpy") as file:
    assert file.metadata()["format"] == "pt" and file.metadata()["text"] == 'café "quoted"\n', file.metadata()

# A folder of bridges: its JSON, its card, its weights.
folder = work / "bridge"
config = json.loads((folder / "adapter_config.json").read_text())
assert config["peft_type"] == "CALM" and config["base_model_name_or_path"] == "us/anchor", config
assert (folder / "README.md").read_text().startswith('---\nlibrary_name: calm\nbase_model: "us/anchor"\n')
weights = load_file(folder / "adapter_model.safetensors")
shapes = {name.removeprefix("bridges.0."): x.shape for name, x in weights.items()}
matrices = {f"{name}_proj.weight": (8, 8) for name in "qkvo"}
others = {"norm_query.weight": (8,), "norm_augment.weight": (4,), "proj.weight": (8, 4), "sink": (2,)}
assert shapes == matrices | others, shapes
assert not weights["bridges.0.o_proj.weight"].any() and weights["bridges.0.q_proj.weight"].std() > 0.1

# A model that calm-convert wrote, beside the file that it read.
source = data / "stories260K.bin"
if source.exists():
    subprocess.run([convert, "llama2c", source, work / "stories"], check=True)
    model, raw = load_file(work / "stories" / "model.safetensors"), source.read_bytes()
    dim, _, _, _, _, vocab, _ = numpy.frombuffer(raw, "<i4", 7)
    embedding = numpy.frombuffer(raw, "<f4", dim * abs(vocab), 28).reshape(abs(vocab), dim)
    assert (model["model.embed_tokens.weight"] == embedding).all()
    described = json.loads((work / "stories" / "config.json").read_text())
    assert described["vocab_size"] == abs(vocab) and described["hidden_size"] == dim, described
missing = "" if source.exists() else f"; no stories260K.bin in {data}"
print(f"safetensors {safetensors.__version__} reads what calm writes{missing}")
