"""The protobuf messages of the Open Inference Protocol, built from a table of their fields.

Importing this needs protobuf. The messages live in a descriptor pool of their own, so that a
client's generated copy of the same package can live in the same process.
Source: Open Inference Protocol, gRPC form, with Triton's repository, configuration and statistics
extensions; names, numbers and types of the fields are the protocol.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = "GRPCInferenceService"
FILE = "clearsight/open_inference.proto"

TENSOR = "name:string=1 datatype:string=2 shape:int64*=3"
NAMED = "name:string=1 version:string=2"
REPOSITORY_MODEL = (
    "repository_name:string=1 model_name:string=2 parameters:<ModelRepositoryParameter>=3"
)
COMPUTE = ("compute_input", "compute_infer", "compute_output")

MESSAGES: dict[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live:bool=1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready:bool=1",
    "ModelReadyRequest": NAMED,
    "ModelReadyResponse": "ready:bool=1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name:string=1 version:string=2 extensions:string*=3",
    "ModelMetadataRequest": NAMED,
    "ModelMetadataResponse.TensorMetadata": TENSOR,
    "ModelMetadataResponse": (
        "name:string=1 versions:string*=2 platform:string=3 "
        "inputs:ModelMetadataResponse.TensorMetadata*=4 "
        "outputs:ModelMetadataResponse.TensorMetadata*=5"
    ),
    "InferParameter": (
        "bool_param:bool?=1 int64_param:int64?=2 string_param:string?=3 double_param:double?=4 "
        "uint64_param:uint64?=5"
    ),
    "InferTensorContents": (
        "bool_contents:bool*=1 int_contents:int32*=2 int64_contents:int64*=3 "
        "uint_contents:uint32*=4 uint64_contents:uint64*=5 fp32_contents:float*=6 "
        "fp64_contents:double*=7 bytes_contents:bytes*=8"
    ),
    "ModelInferRequest.InferInputTensor": (
        f"{TENSOR} parameters:<InferParameter>=4 contents:InferTensorContents=5"
    ),
    "ModelInferRequest.InferRequestedOutputTensor": "name:string=1 parameters:<InferParameter>=2",
    "ModelInferRequest": (
        "model_name:string=1 model_version:string=2 id:string=3 parameters:<InferParameter>=4 "
        "inputs:ModelInferRequest.InferInputTensor*=5 "
        "outputs:ModelInferRequest.InferRequestedOutputTensor*=6 raw_input_contents:bytes*=7"
    ),
    "ModelInferResponse.InferOutputTensor": (
        f"{TENSOR} parameters:<InferParameter>=4 contents:InferTensorContents=5"
    ),
    "ModelInferResponse": (
        "model_name:string=1 model_version:string=2 id:string=3 parameters:<InferParameter>=4 "
        "outputs:ModelInferResponse.InferOutputTensor*=5 raw_output_contents:bytes*=6"
    ),
    "ModelRepositoryParameter": (
        "bool_param:bool?=1 int64_param:int64?=2 string_param:string?=3 bytes_param:bytes?=4"
    ),
    "RepositoryIndexRequest": "repository_name:string=1 ready:bool=2",
    "RepositoryIndexResponse.ModelIndex": (
        "name:string=1 version:string=2 state:string=3 reason:string=4"
    ),
    "RepositoryIndexResponse": "models:RepositoryIndexResponse.ModelIndex*=1",
    "RepositoryModelLoadRequest": REPOSITORY_MODEL,
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": REPOSITORY_MODEL,
    "RepositoryModelUnloadResponse": "",
    "ModelConfigRequest": NAMED,
    "ModelInput": "name:string=1 data_type:DataType=2 dims:int64*=4",
    "ModelOutput": "name:string=1 data_type:DataType=2 dims:int64*=3",
    "ModelConfig": (
        "name:string=1 platform:string=2 max_batch_size:int32=4 input:ModelInput*=5 "
        "output:ModelOutput*=6 backend:string=17"
    ),
    "ModelConfigResponse": "config:ModelConfig=1",
    "ModelStatisticsRequest": NAMED,
    "StatisticDuration": "count:uint64=1 ns:uint64=2",
    "InferStatistics": " ".join(
        f"{name}:StatisticDuration={number}"
        for number, name in enumerate(
            ("success", "fail", "queue", *COMPUTE, "cache_hit", "cache_miss"), start=1
        )
    ),
    "InferBatchStatistics": "batch_size:uint64=1 "
    + " ".join(f"{name}:StatisticDuration={n}" for n, name in enumerate(COMPUTE, start=2)),
    "ModelStatistics": (
        "name:string=1 version:string=2 last_inference:uint64=3 inference_count:uint64=4 "
        "execution_count:uint64=5 inference_stats:InferStatistics=6 "
        "batch_stats:InferBatchStatistics*=7"
    ),
    "ModelStatisticsResponse": "model_stats:ModelStatistics*=1",
}
"""Fields by message: `name:type=number`; `*` repeated, `?` one of a choice, `<T>` a map of text."""

DATA_TYPES = (
    *("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "STRING", "BF16"),
)
METHODS = (
    *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"),
    *("ModelConfig", "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad"),
    "RepositoryModelUnload",
)
"""Each takes the message NameRequest and gives NameResponse."""

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


def describe() -> descriptor_pb2.FileDescriptorProto:
    """Return the description of every message and of the service."""
    file = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3")
    data_type = file.enum_type.add(name="DataType")
    for number, name in enumerate(DATA_TYPES):
        data_type.value.add(name=f"TYPE_{name}", number=number)
    made: dict[str, Any] = {}
    for path in sorted(MESSAGES):  # a message stands before those inside it
        outer, _, name = path.rpartition(".")
        made[path] = made[outer].nested_type.add(name=name) if outer else file.message_type.add()
        made[path].name = name
        for field in MESSAGES[path].split():
            _add_field(made[path], path, field)
    service = file.service.add(name=SERVICE)
    for method in METHODS:
        service.method.add(
            name=method,
            input_type=f".{PACKAGE}.{method}Request",
            output_type=f".{PACKAGE}.{method}Response",
        )
    return file


def _add_field(message: Any, path: str, text: str) -> None:
    name, _, rest = text.partition(":")
    kind, _, number = rest.partition("=")
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.startswith("<"):
        entry = "".join(word.capitalize() for word in name.split("_")) + "Entry"
        inner = message.nested_type.add(name=entry)
        inner.options.map_entry = True
        _add_field(inner, "", "key:string=1")
        _add_field(inner, "", f"value:{kind[1:-1]}=2")
        kind = f"{path}.{entry}*"
    if kind.endswith("*"):
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    kind = kind.rstrip("*?")
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type = _Field.TYPE_ENUM if kind == "DataType" else _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


POOL = descriptor_pool.DescriptorPool()
POOL.Add(describe())


def message_class(name: str) -> Any:
    """Return the class of a message.

    Example:
        >>> message_class("ServerLiveResponse")(live=True).SerializeToString()
        b'\\x08\\x01'
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
